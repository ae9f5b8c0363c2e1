"""``--engine-arg NAME=VALUE`` -> typed vLLM engine arguments, and the defaults that fit this use."""

import contextlib
import difflib
import importlib.metadata
import io
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from radar_fast.engines.options import EngineOptions
from radar_fast.engines.vllm.derive import PREFIX
from radar_fast.engines.vllm.internvl import processor_arguments
from radar_fast.engines.vllm.plugin import WorkerExtension, register
from radar_fast.errors import ModelError, UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol

__all__ = ["WHOLE_REQUEST_TOKENS", "arguments_for", "check_plugin", "engine_arguments", "parse_arguments"]

WHOLE_REQUEST_TOKENS = 32768
"""Longest model for which requests are kept whole by default; a longer one's are split by chunked prefill, because
the token budget of a step, and with it the memory for activations, would have to be as long as the model."""

IMAGE_CACHE_GB = 0.125
"""GiB of images that vLLM keeps: those of a sample for its other requests, and of the next sample with the same. vLLM's
own 4 GiB fill up with images that no one asks for again. More only where one image may be larger, for vLLM before 0.32
refuses one that the cache cannot hold."""

VALUES_A_PIXEL = 6
"""Numbers that a Qwen2-VL processor makes of a pixel: three colours, in two frames."""

VALUES_A_TILE = 3 * 768 * 768
"""More than InternVL's tiles have, whose side is 448."""

VALUES_A_TOKEN = 6144
"""Most numbers that a processor is known to make of what becomes one token: Qwen3-VL's, four patches of 16 x 16."""

SEQUENCES = 1024
"""Requests in a step, and paths of packed ones. vLLM's own default is 128 where it does not know who starts it."""

PLUGIN = "radar_fast"
"""Our entry point's name in pyproject.toml."""

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

_OURS = {
    "model": "--model",
    "tokenizer": "--model",
    "dtype": "--dtype",
    "trust_remote_code": "--trust-remote-code",
    "mm_processor_kwargs": "--min-pixels and --max-pixels",
    "max_num_batched_tokens": "--batch-tokens",
}
"""Engine arguments that an option of ours sets."""
_FIXED = ("runner", "convert", "hf_overrides", "worker_extension_cls", "pooler_config", "skip_tokenizer_init")
"""Engine arguments that the candidate pooler needs as they are."""


def parse_arguments(given: Mapping[str, str]) -> dict[str, Any]:
    """NAME -> VALUE as text -> typed values, by vLLM's own command-line parser.

    Raises:
        UsageError: a name that this vLLM does not know or that is not to be set, or a value of another type.
    """
    if not given:
        return {}
    from vllm.engine.arg_utils import EngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    known = {field.name for field in fields(EngineArgs)}
    words: list[str] = []
    for name, value in given.items():
        option = f"--engine-arg {name}={value}"
        if name in _OURS:
            raise UsageError(f"{option}: use {_OURS[name]}")
        if name in _FIXED:
            raise UsageError(f"{option}: the engine needs this argument as it sets it; leave it out")
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"; did you mean {close[0]}?" if close else "; see vllm serve --help for their names"
            raise UsageError(f"{option}: vLLM has no engine argument {name!r}{hint}")
        if name.startswith("data_parallel") and value not in ("1", "false"):
            raise UsageError(
                f"{option}: data parallelism is not supported, for what vLLM keeps of images is followed for one "
                "engine only; leave it out, and run one process a GPU, each on a part of the samples"
            )
        flag = name.replace("_", "-")
        if value.lower() in ("true", "false"):
            words.append(f"--{flag}" if value.lower() == "true" else f"--no-{flag}")
        else:
            words += [f"--{flag}", value]
    parser = EngineArgs.add_cli_args(FlexibleArgumentParser(exit_on_error=False))
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = parser.parse_args(words)
    except (Exception, SystemExit) as error:
        lines = said.getvalue().strip().splitlines() or [str(error)]
        raise UsageError(f"--engine-arg: {' '.join(lines[-1].split())[-300:]}") from None
    return {name: getattr(parsed, name) for name in given}


def arguments_for(checkpoint: Checkpoint, protocol: Protocol, options: EngineOptions) -> dict[str, Any]:
    """Arguments for ``EngineArgs`` from resolved options: what an option says to vLLM is said here.

    Raises:
        UsageError, ModelError: as :func:`parse_arguments` and :func:`engine_arguments`.
    """
    return engine_arguments(
        checkpoint,
        dtype=options.dtype,
        device=options.device,
        pixels=protocol.pixels,
        tiles=protocol.tiles,
        batch_tokens=options.batch_tokens,
        given=parse_arguments(options.arguments),
    )


def engine_arguments(
    checkpoint: Checkpoint,
    *,
    dtype: str,
    device: str,
    pixels: tuple[int, int] | None,
    tiles: int | None = None,
    batch_tokens: int | None,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Arguments for ``EngineArgs``: what the pooler needs, defaults by device, and over those what the user gave.

    Raises:
        ModelError: vLLM's registry does not have the checkpoint's architecture.
    """
    from vllm.model_executor.models.registry import ModelRegistry

    register()
    architecture = checkpoint.architecture
    if PREFIX + architecture not in ModelRegistry.models:
        raise ModelError(
            f"{checkpoint.path / 'config.json'}: vLLM does not have the architecture {architecture!r}; use --engine "
            "transformers"
        )
    arguments: dict[str, Any] = {
        "model": str(checkpoint.path),
        "dtype": dtype,
        "trust_remote_code": checkpoint.trust_remote_code,
        "runner": "pooling",
        "hf_overrides": _overrides(checkpoint, given),
        "worker_extension_cls": f"{WorkerExtension.__module__}.{WorkerExtension.__name__}",
        "enable_prefix_caching": True,
        "enforce_eager": True,
        "disable_log_stats": True,
        "limit_mm_per_prompt": {"video": 0},
        "seed": 0,
        "enable_chunked_prefill": False,
    }
    if pixels is not None:
        arguments["mm_processor_kwargs"] = {"size": {"shortest_edge": pixels[0], "longest_edge": pixels[1]}}
    if tiles is not None:
        arguments["mm_processor_kwargs"] = processor_arguments(architecture, tiles)
    if device == "cpu":
        arguments["block_size"] = 32  # the CPU default of 128 recomputes up to 127 tokens per candidate
        arguments["gpu_memory_utilization"] = 0.3
    arguments.update(given)
    longest = arguments.get("max_model_len") or _positions(checkpoint)
    budget = batch_tokens or max(8192 if device == "cpu" else 16384, min(longest, WHOLE_REQUEST_TOKENS))
    arguments["max_num_batched_tokens"] = budget
    arguments.setdefault("max_num_seqs", min(SEQUENCES, budget))
    arguments.setdefault("mm_processor_cache_gb", _image_cache_gb(pixels, tiles, budget, _BYTES[dtype]))
    if budget < longest and "enable_chunked_prefill" not in given:
        arguments["enable_chunked_prefill"] = True
    return arguments


def _overrides(checkpoint: Checkpoint, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is put over the checkpoint's config.json: the architecture with our pooler, and the head's dtype.

    vLLM gives pooling models a float32 head, and then refuses a quantised one; the head of a quantised checkpoint stays
    in the model's dtype.
    """
    overrides: dict[str, Any] = {"architectures": [PREFIX + checkpoint.architecture]}
    sections = (checkpoint.config, checkpoint.config.get("text_config"), checkpoint.config.get("llm_config"))
    names = ("quantization_config", "compression_config")
    if given.get("quantization") or any(isinstance(some, dict) and any(map(some.get, names)) for some in sections):
        overrides["head_dtype"] = "model"
    return overrides


def _image_cache_gb(pixels: tuple[int, int] | None, tiles: int | None, budget: int, itemsize: int) -> float:
    """GiB that hold the largest image, and IMAGE_CACHE_GB at least. One of more tokens than a step takes is refused."""
    values = budget * VALUES_A_TOKEN
    if pixels is not None:
        values = min(values, pixels[1] * VALUES_A_PIXEL)
    elif tiles is not None:
        values = min(values, (tiles + 1) * VALUES_A_TILE)
    return max(IMAGE_CACHE_GB, 1.01 * values * itemsize / 2**30)  # an item is a little more than its pixels


def check_plugin(arguments: Mapping[str, Any]) -> None:
    """See that processes of vLLM's own will find the candidate pooler: they know it by its entry point alone.

    Args:
        arguments: for ``EngineArgs``.

    Raises:
        UsageError: radar-fast is not installed, or ``VLLM_PLUGINS`` leaves it out.
    """
    ranks = int(arguments.get("tensor_parallel_size") or 1) * int(arguments.get("pipeline_parallel_size") or 1)
    if os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING", "1") == "0" and ranks == 1:
        return  # the engine runs in this process, where the pooler is registered by hand
    if not any(point.name == PLUGIN for point in importlib.metadata.entry_points(group="vllm.general_plugins")):
        raise UsageError(
            "--engine vllm: radar-fast runs from a checkout that is not installed, and vLLM's own processes know its "
            "pooler only from an installed package; run pip install --no-deps --no-build-isolation -e . in the checkout"
        )
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and PLUGIN not in allowed.split(","):
        raise UsageError(
            f"--engine vllm: VLLM_PLUGINS={allowed} keeps vLLM's own processes from loading radar-fast's pooler; add "
            f"{PLUGIN} to it, or unset it"
        )


def _positions(checkpoint: Checkpoint) -> int:
    """Positions that the checkpoint's language model has, by its config.json."""
    for section in (checkpoint.config, checkpoint.config.get("text_config"), checkpoint.config.get("llm_config")):
        if isinstance(section, dict) and isinstance(section.get("max_position_embeddings"), int):
            return int(section["max_position_embeddings"])
    return WHOLE_REQUEST_TOKENS
