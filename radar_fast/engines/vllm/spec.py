"""The vLLM engine's row in the table of engines. Imports neither torch nor vLLM until a function is called."""

from radar_fast.engines.base import Engine, EngineSpec
from radar_fast.engines.encode.context import EngineContext
from radar_fast.engines.options import EngineOptions
from radar_fast.errors import UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol

__all__ = ["SPEC"]

_PLACING = frozenset(
    {
        "block_size",
        "data_parallel_size",
        "disable_log_stats",
        "distributed_executor_backend",
        "enable_chunked_prefill",
        "enable_prefix_caching",
        "enforce_eager",
        "gpu_memory_utilization",
        "kv_cache_memory_bytes",
        "load_format",
        "max_num_seqs",
        "mm_processor_cache_gb",
        "pipeline_parallel_size",
        "tensor_parallel_size",
    }
)
"""Engine arguments that change no score beyond rounding."""


def _open(checkpoint: Checkpoint | None, protocol: Protocol, options: EngineOptions, context: EngineContext) -> Engine:
    from radar_fast.engines.vllm.engine import VllmEngine

    if checkpoint is None:
        raise UsageError("--engine vllm: needs --model")
    return VllmEngine(checkpoint, protocol, options, context)


def _resolve(checkpoint: Checkpoint | None, options: EngineOptions) -> EngineOptions:
    from radar_fast.engines.device import resolve_options
    from radar_fast.engines.vllm.process import set_environment

    set_environment()
    return resolve_options(checkpoint, options)


def _identity(options: EngineOptions) -> dict[str, str]:
    identity = {"device": options.device, "dtype": options.dtype}
    if telling := sorted(item for item in options.arguments.items() if item[0] not in _PLACING):
        identity["arguments"] = " ".join(f"{argument}={value}" for argument, value in telling)
    return identity


def _available(options: EngineOptions) -> tuple[bool, str]:
    """Where there is a GPU and a vLLM that is known to work."""
    from radar_fast.engines.device import cuda_available
    from radar_fast.engines.vllm.compat import check_version, installed_version

    if options.device == "cpu" or not cuda_available():
        return False, "--device is cpu" if options.device == "cpu" else "there is no GPU"
    try:
        check_version()
    except UsageError as error:
        return False, str(error).partition(";")[0].removeprefix("--engine vllm: ")
    return True, f"there is a GPU and vLLM {installed_version()}"


SPEC = EngineSpec(
    name="vllm",
    open=_open,
    resolve=_resolve,
    identity=_identity,
    takes=frozenset({"arguments", "request"}),
    available=_available,
)
