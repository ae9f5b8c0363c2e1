"""A real ``vllm serve`` on the CPU build."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def free_port() -> int:
    """A port that nobody listens to just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def served(
    checkpoint: Path,
    folder: Path,
    *more: str,
    port: int | None = None,
    environment: Mapping[str, str] = os.environ,
    program: Sequence[str] = (),
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """The address of a server of a checkpoint, once it answers, and its process; killed at the end.

    ``folder`` gets its log; ``more`` are options of ``vllm serve``; ``program`` is what Python runs in place of ours.
    """
    port = port or free_port()
    words = [
        *(sys.executable, *(program or ("-m", "radar_fast.engines.vllm.serve", str(checkpoint)))),
        *("--host", "127.0.0.1", "--port", str(port), "--served-model-name", checkpoint.name),
        *("--dtype", "float32", "--enforce-eager", "--block-size", "32", "--gpu-memory-utilization", "0.3"),
        *more,
    ]
    log = folder / "log"
    quiet = {**environment, "VLLM_LOGGING_LEVEL": "ERROR"}
    with log.open("a") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=stream, env=quiet, start_new_session=True)
    try:
        for _ in range(3000):
            assert process.poll() is None, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise AssertionError(f"the server does not answer: {log.read_text()[-3000:]}")
        yield f"http://127.0.0.1:{port}", process
    finally:
        kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """The server and all that it has started, at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
