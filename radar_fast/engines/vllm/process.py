"""vLLM's processes: what their environment says before the first import, and how their end is noticed."""

import multiprocessing.connection
import os
import threading
from typing import Any

__all__ = ["end_waiting_when_dead", "set_environment"]


def set_environment() -> None:
    """Defaults for vLLM's environment variables, before its first import; what the user has set stays."""
    for name, value in (
        # The V2 runner, the default on a GPU in newer versions, has no pooling task for plugins (and in 0.26 only
        # "embed"); the V1 runner has had the same one in all versions.
        ("VLLM_USE_V2_MODEL_RUNNER", "0"),
        # A forked process cannot use a GPU that this one has touched, and vLLM's default is to fork. Both of these are
        # read when they are needed, so they count from here on.
        ("VLLM_WORKER_MULTIPROC_METHOD", "spawn"),
        ("PYTORCH_NVML_BASED_CUDA_CHECK", "1"),
        ("VLLM_LOGGING_LEVEL", "ERROR"),
        ("VLLM_LOGGING_STREAM", "ext://sys.stderr"),
        ("VLLM_NO_USAGE_STATS", "1"),
        # On a CPU: vLLM's oneDNN keeps 1024 compiled primitives, one per layer shape and number of tokens in a step, of
        # which hardly any comes again: 0.3 GB, and as much in holes between them.
        ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64"),
    ):
        os.environ.setdefault(name, value)


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
