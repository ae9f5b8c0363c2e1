"""A process that imports what encoding needs, once, and from which workers are forked.

An import of torch and transformers takes some four seconds of a core and 0.4 GB. Workers that are forked after it share
both. The process can be started before anyone knows what there is to encode, while the engine's own process imports the
same; it never runs a model, sees no GPU and has a single thread, so that forking it is safe.

This module imports neither torch nor transformers.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from radar_fast.util.closing import Closing

__all__ = ["ForkServer", "ForkServerDiedError"]

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from radar_fast.util.orphans import end_when_orphaned; end_when_orphaned(int(sys.argv[2])); "
    "from radar_fast.engines.encode.worker_main import serve; serve()"
)


class ForkServerDiedError(Exception):
    """The process is gone."""


class ForkServer(Closing):
    """The process, from the engine's side. Safe to use from several threads, and to be closed."""

    def __init__(self) -> None:
        """Start it; it gets ready while the caller goes on."""
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            # transformers imports scikit-learn where it is installed, that pandas, and that pyarrow, whose allocator
            # has a thread of its own.
            "JE_ARROW_MALLOC_CONF": "background_thread:false",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }
        with theirs:
            # A group of its own: Ctrl-C is for the engine, which then closes the socket.
            self._process = subprocess.Popen(  # noqa: S603 # our own interpreter and code
                [sys.executable, "-P", "-c", _CODE, json.dumps(sys.path), str(os.getpid()), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
                process_group=0,
            )
        self._connection = Connection(os.dup(self._socket.fileno()))

    def fork(self, job: Any, descriptors: list[int]) -> None:
        """Have a worker forked that does ``job`` and gets copies of ``descriptors``; does not wait for it.

        Raises:
            ForkServerDiedError: the process is gone.
        """
        with self._lock, _told():
            self._connection.send(("fork", job))
            socket.send_fds(self._socket, [b"."], descriptors)

    def end(self, pid: int) -> int:
        """Kill a worker, if it is still there, and return how it ended: as ``os.waitstatus_to_exitcode``.

        Raises:
            ForkServerDiedError: the process is gone, and nobody knows.
        """
        with self._lock, _told():
            self._connection.send(("end", pid))
            status: int = self._connection.recv()
            return status

    def close(self) -> None:
        """End the process; its workers live as long as their own sockets do. Calling it twice is fine."""
        self._process.kill()
        self._process.wait()
        with self._lock:
            self._connection.close()
            self._socket.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        raise ForkServerDiedError from error
