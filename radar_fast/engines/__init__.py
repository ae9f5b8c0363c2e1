"""The seam between the pipeline and whatever runs a model: :class:`Engine`, and :func:`open_engine`.

Engines are imported when they are opened, so that reading and counting need neither torch nor vLLM.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol as Interface

from radar_fast.config import ENGINES, WORKER_KINDS, check_choice
from radar_fast.engines.encode.fork_server import ForkServer
from radar_fast.errors import UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol
from radar_fast.sample import Prompt, Scored

__all__ = ["WINDOW", "Engine", "EngineOptions", "choose_engine", "engine_identity", "open_engine"]

PROCESSES_PAY = {"workers": 2, "prompts": 1000}
"""From how many workers and prompts on ``auto`` takes processes; docs/pipeline.md has the measurements."""

WINDOW = 64
"""Prompts that are scheduled together. An engine may reorder and batch freely within the WINDOW prompts that start at
a multiple of WINDOW, but never across, so that a resumed run which drops whole windows batches as an uninterrupted
one does, and gives the same bits."""


class Engine(Interface):
    """Scores prompts."""

    name: str
    """As on the command line."""

    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        """Score every prompt, lazily, in any order: exactly one :class:`Scored` a prompt.

        Raises:
            EngineError: the engine as a whole failed. A prompt that alone cannot be scored comes out unscored.
        """
        ...

    def describe(self) -> dict[str, str | int | float | bool | None]:
        """What the run's record should say of it: device, dtype, batching, its own counts."""
        ...

    def load_weights(self, path: Path) -> None:
        """Go on with another checkpoint that differs in its weights alone, and count anew. Not while scoring.

        Raises:
            ModelError: it differs in more, or cannot be loaded; in the last case the engine is of no use any more.
        """
        ...

    def close(self) -> None:
        """Free the device. Calling it twice is fine."""
        ...


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How an engine is to run. Nothing of it but ``dtype`` and ``device`` may change a score."""

    device: str = "auto"
    """``auto``, ``cpu`` or ``cuda``."""
    dtype: str = "auto"
    """``auto`` (the checkpoint's own on a GPU, float32 on a CPU), ``float32``, ``bfloat16`` or ``float16``."""
    batch_tokens: int | None = None
    """Most token positions in one forward pass, padding counted; None lets the engine choose for its device."""
    workers: int | None = None
    """Threads or processes that read and preprocess images; None: one a core, at most 8."""
    worker_kind: str = "auto"
    """``threads``, ``processes``, or ``auto``: processes where they pay, which is on several cores and for many
    prompts."""
    expected: int | None = None
    """How many prompts are to come, where that is known; it decides nothing but what pays."""
    preprocess_cache: Path | None = None
    """A folder where the transformers engine keeps preprocessed images, for other checkpoints with the same image
    processor."""
    preprocess_cache_gb: float = 100.0
    """Most gigabytes (10^9 bytes) of it."""
    attention: str = "auto"
    """The transformers engine's attention: ``dense`` (a mask), ``cascade`` (flash-attn), ``flex`` (FlexAttention), or
    ``auto``: dense on a CPU, on a GPU cascade where flash-attn is installed, else flex."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """vLLM's own engine arguments, by name, as text; for the vLLM engine only. They may change a score, as a
    quantisation does, and are part of its identity, but for those that only place and schedule."""
    fork_server: ForkServer | None = field(default=None, compare=False)
    """What worker processes are to be forked from, where it has been started already; the engine does not close it."""

    @property
    def worker_count(self) -> int:
        """``workers``, or what None stands for on this machine."""
        return self.workers or min(8, len(os.sched_getaffinity(0)))

    @property
    def prefers_processes(self) -> bool:
        """Whether workers are to be processes, if the protocol can be made in them.

        Raises:
            UsageError: an unknown kind.
        """
        check_choice("worker-kind", self.worker_kind, WORKER_KINDS)
        if self.worker_kind == "auto":
            enough = (self.expected or 0) >= PROCESSES_PAY["prompts"]
            return enough and self.worker_count >= PROCESSES_PAY["workers"]
        return self.worker_kind == "processes"


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


def engine_identity(name: str, checkpoint: Checkpoint | None, options: EngineOptions) -> dict[str, str]:
    """What of an engine must be the same for scores to stand side by side: its name, device and dtype, resolved.

    Loads no weights.

    Raises:
        UsageError: an unknown name, or a device or dtype that is not to be had.
    """
    name, _ = choose_engine(name, options)
    if name == "fake" or checkpoint is None:
        return {"name": name, "device": "none", "dtype": "none"}
    from radar_fast.engines.transformers.loading import resolve_device, resolve_dtype

    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, checkpoint, device)
    identity = {"name": name, "device": device.type, "dtype": str(dtype).removeprefix("torch.")}
    if telling := sorted(item for item in options.arguments.items() if item[0] not in _PLACING):
        identity["arguments"] = " ".join(f"{argument}={value}" for argument, value in telling)
    return identity


def choose_engine(name: str, options: EngineOptions) -> tuple[str, str]:
    """What ``auto`` stands for here, and why; another name stands for itself, and needs no reason.

    vLLM where there is a GPU and a vLLM that is known to work, else transformers.

    Raises:
        UsageError: an unknown name, or engine arguments for an engine that takes none.
    """
    check_choice("engine", name, ENGINES)
    why = ""
    if name == "auto":
        name, why = _best_engine(options.device)
    if options.arguments and name != "vllm":
        reason = f", because {why}" if why else ""
        raise UsageError(
            f"--engine-arg: only --engine vllm takes engine arguments, and this is --engine {name}{reason}"
        )
    if name == "vllm" and options.attention != "auto":
        reason = f", because {why}" if why else ""
        raise UsageError(
            f"--attention {options.attention}: only --engine transformers takes it, this is --engine vllm{reason}"
        )
    return name, why


def _best_engine(device: str) -> tuple[str, str]:
    import torch

    from radar_fast.engines.vllm.compat import check_version, installed_version

    if device == "cpu" or not torch.cuda.is_available():
        return "transformers", "--device is cpu" if device == "cpu" else "there is no GPU"
    try:
        check_version()
    except UsageError as error:
        return "transformers", str(error).partition(";")[0].removeprefix("--engine vllm: ")
    return "vllm", f"there is a GPU and vLLM {installed_version()}"


def open_engine(name: str, checkpoint: Checkpoint | None, protocol: Protocol, options: EngineOptions) -> Engine:
    """Load the engine called ``name``; for ``auto`` see :func:`choose_engine`.

    Raises:
        UsageError: an unknown name or option.
        ModelError: the checkpoint cannot be loaded by it.
    """
    name, _ = choose_engine(name, options)
    if name == "fake":
        from radar_fast.engines.fake import FakeEngine

        return FakeEngine()
    if checkpoint is None:
        raise UsageError(f"--engine {name}: needs --model")
    if name == "vllm":
        from radar_fast.engines.vllm.engine import VllmEngine

        return VllmEngine(checkpoint, protocol, options)
    from radar_fast.engines.transformers.engine import TransformersEngine

    return TransformersEngine(checkpoint, protocol, options)
