"""Encoding in processes of its own, for machines with many cores: Python runs one thread at a time, whatever the cores.

The engine's side is as with threads: a thread per worker, which hands it a prompt and waits (:meth:`Pool.encode`). So
order, windows and batches are those of the threads, and the scores are the same to the last bit.

- Workers are forked from one process that has imported torch and transformers' processors, no model and not vLLM, and
  sees no GPU (:mod:`radar_fast.engines.encode.fork_server`). It is started by command line, not by multiprocessing:
  that would import the user's main module again.
- A prompt goes over a socket, and comes back as its token ids; tensors go through memory that the two processes share,
  which has no name in the file system: the kernel frees it with the last of its processes, however they end.
- A worker ends as soon as its socket is closed at the other end, which the kernel does for a process that is killed.
- A worker that dies is replaced, and its prompt is encoded once more. If that fails too, it is an EngineError.

What goes over the sockets is made and read by processes of the same user and code, connected to nothing else.
"""

import contextlib
import os
import queue
import signal
import socket
import threading
from dataclasses import replace
from multiprocessing.connection import Connection

import torch

from radar_fast import errors
from radar_fast.engines.encode.context import EngineContext, prefers_processes
from radar_fast.engines.encode.encoder import Encoded
from radar_fast.engines.encode.fork_server import ForkServer, ForkServerDiedError
from radar_fast.engines.encode.image_cache import ImageReuse
from radar_fast.engines.encode.shared_memory import SharedMemory, nameless_file
from radar_fast.engines.encode.worker_main import Failure, Job
from radar_fast.engines.options import EngineOptions
from radar_fast.errors import EngineError, RadarError, UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import PROTOCOLS, Protocol, open_protocol
from radar_fast.sample import Prompt, Reason
from radar_fast.util.clock import Clock
from radar_fast.util.closing import Closing

__all__ = ["Pool", "can_reopen", "choose_worker_kind"]


class _WorkerDiedError(Exception):
    """The process at the other end is gone."""


def can_reopen(protocol: Protocol, checkpoint: Checkpoint) -> bool:
    """Whether a worker can make this protocol from its name: not one that a program has put together itself."""
    if protocol.name not in PROTOCOLS:
        return False
    least, most = protocol.pixels or (None, None)
    try:
        again = open_protocol(
            protocol.name, checkpoint, min_pixels=least, max_pixels=most, image_backend=protocol.image_backend
        )
    except RadarError:
        return False
    return dict(again.settings) == dict(protocol.settings)


def choose_worker_kind(
    options: EngineOptions, context: EngineContext, protocol: Protocol, checkpoint: Checkpoint
) -> str:
    """``threads`` or ``processes``.

    Raises:
        UsageError: processes for a protocol that they cannot make themselves.
    """
    if not prefers_processes(options, context.expected):
        return "threads"
    if can_reopen(protocol, checkpoint):
        return "processes"
    if options.worker_kind == "processes":
        raise UsageError(f"--worker-kind processes: protocol {protocol.name!r} is made by a program; take threads")
    return "threads"


class Pool(Closing):
    """Processes that encode prompts. Use it from as many threads as there are workers, and close it."""

    def __init__(
        self,
        count: int,
        checkpoint: Checkpoint,
        protocol: Protocol,
        dtype: torch.dtype,
        reuse: ImageReuse,
        clock: Clock,
        *,
        raw_pixels: bool = False,
        fork_server: ForkServer | None = None,
    ) -> None:
        """Start ``count`` processes; they get ready while the caller goes on.

        Args:
            count: of processes.
            checkpoint: as for :class:`~radar_fast.engines.encode.encoder.Encoder`.
            protocol: see :func:`can_reopen`.
            dtype: as for Encoder.
            reuse: as for Encoder.
            clock: counts what the workers take, by part.
            raw_pixels: as for Encoder.
            fork_server: to be forked from, if one has been started already; it stays the caller's to close.
        """
        self._job = Job(
            checkpoint.path,
            checkpoint.trust_remote_code,
            protocol.name,
            protocol.pixels,
            protocol.image_backend,
            dtype,
            reuse,
            raw_pixels,
        )
        self._clock = clock
        self._closed = False
        self._own: ForkServer | None = None
        self._fork_server = fork_server or self._renewed()
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        for _ in range(count):
            self._idle.put(self._start())

    @property
    def pids(self) -> list[int]:
        """Process ids of the present workers."""
        with self._lock:
            workers = list(self._all)
        return sorted(worker.pid for worker in workers)

    def encode(self, prompt: Prompt) -> Encoded | Reason:
        """Have the next idle worker encode ``prompt``; waits for it.

        Raises:
            EngineError: two workers died of this prompt, or a worker failed altogether.
            ModelError: as Encoder.
        """
        worker = self._idle.get()
        try:
            try:
                return self._ask(worker, prompt)
            except _WorkerDiedError as first:
                worker = self._replace(worker)
                try:
                    return self._ask(worker, prompt)
                except _WorkerDiedError as second:
                    worker = self._replace(worker)
                    task, name = prompt.sample.key
                    raise EngineError(
                        f"worker processes died of sample {name!r} of task {task!r}, twice ({first}; {second}): most "
                        "likely the memory is full; take fewer --workers, or --worker-kind threads"
                    ) from None
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the processes, whatever they are doing. Calling it twice is fine."""
        with self._lock:
            self._closed = True
            workers, self._all = self._all, set()
        for worker in workers:
            worker.close()
        if self._own is not None:
            self._own.close()

    def _ask(self, worker: "_Worker", prompt: Prompt) -> Encoded | Reason:
        answer, seconds = worker.ask(prompt)
        self._clock.add_all(seconds)
        return answer

    def _start(self) -> "_Worker":
        with self._lock:
            if self._closed:
                raise EngineError("the engine was closed while it was encoding")
            try:
                worker = _Worker(self._fork_server, self._job)
            except ForkServerDiedError:
                self._fork_server = self._renewed()
                try:
                    worker = _Worker(self._fork_server, self._job)
                except ForkServerDiedError:
                    raise EngineError("worker processes cannot be started; take --worker-kind threads") from None
            self._all.add(worker)
        return worker

    def _renewed(self) -> ForkServer:
        """Another fork server, of our own."""
        if self._own is not None:
            self._own.close()
        self._own = ForkServer()
        return self._own

    def _replace(self, worker: "_Worker") -> "_Worker":
        with self._lock:
            self._all.discard(worker)
        worker.close()
        return self._start()


class _Worker:
    """One process, from the engine's side. For one thread at a time, but for its pid and its end."""

    def __init__(self, fork_server: ForkServer, job: Job) -> None:
        self._fork_server = fork_server
        self._memory = SharedMemory(nameless_file())
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                fork_server.fork(job, [theirs.fileno(), self._memory.descriptor])
        except BaseException:
            self._socket.close()
            self._memory.close()
            raise
        self._connection = Connection(os.dup(self._socket.fileno()))
        self._greeting = threading.Lock()
        self._pid: int | None = None
        self._ended = ""

    @property
    def pid(self) -> int:
        """Waits until the process is there. Raises _WorkerDiedError."""
        return self._greeted()

    def ask(self, prompt: Prompt) -> tuple[Encoded | Reason, dict[str, float]]:
        """The prompt encoded, and the seconds it took by part. Raises _WorkerDiedError, and what a worker reports."""
        self._greeted()
        try:
            # Without what encoding does not need, to save bytes on the way.
            self._connection.send(replace(prompt, sample=replace(prompt.sample, parts=(), metadata={})))
            answer, seconds = self._connection.recv()
        except (EOFError, OSError):
            raise _WorkerDiedError(self._end()) from None
        if isinstance(answer, Failure):
            raise getattr(errors, answer.kind)(answer.message)
        if isinstance(answer, Reason):
            return answer, seconds
        try:
            tensors = self._memory.read(answer.places, answer.size)
        finally:
            self._memory.shrink()
        inputs = {place.name: tensor for place, tensor in tensors if not place.of_tokens}
        token_inputs = {place.name: tensor for place, tensor in tensors if place.of_tokens}
        encoded = Encoded(
            prompt, answer.prefix, answer.suffixes, answer.scored_from, inputs, token_inputs, answer.unexpanded
        )
        return encoded, seconds

    def close(self) -> None:
        """End the process and free what it shares."""
        # First the socket, for both sides: the process ends with it, and a thread of ours that waits for it wakes up.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._end()
        self._connection.close()
        self._socket.close()
        self._memory.close()

    def _greeted(self) -> int:
        """The first that a worker says is its pid; waits for it, once."""
        with self._greeting:
            if self._pid is None:
                try:
                    self._pid = int(self._connection.recv())
                except (EOFError, OSError):
                    raise _WorkerDiedError("it could not be started") from None
            return self._pid

    def _end(self) -> str:
        """See that the process has ended; how it did. One that is not there yet finds its socket closed."""
        if self._pid is not None and not self._ended:
            try:
                status = self._fork_server.end(self._pid)
                self._ended = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            except ForkServerDiedError:
                self._ended = "nobody saw how it ended"
        return self._ended
