"""Encoding in processes of its own, for machines with many cores: Python runs one thread at a time, whatever the cores.

The engine's side is as with threads: a thread a worker, which hands it a prompt and waits (:meth:`Workers.encode`). So
order, windows and batches are those of the threads, and the scores are the same to the last bit.

- A prompt goes over a socket, and comes back as its token ids; tensors go through memory that the two processes share,
  which has no name in the file system: the kernel frees it with the last of its processes, however they end.
- A worker ends as soon as its socket is closed at the other end, which the kernel does for a process that is killed.
- A worker that dies is replaced, and its prompt is encoded once more. If that fails too, it is an EngineError.
- A worker imports torch and transformers' processors, no model and not vLLM, and sees no GPU. It is started by command
  line, not by multiprocessing: that would import the user's main module again.

What goes over the socket is made and read by processes of the same user and code, connected to nothing else.
"""

import contextlib
import json
import mmap
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from radar_fast import errors
from radar_fast.checkpoint import Checkpoint
from radar_fast.config import PROTOCOLS, WORKER_KINDS, check_choice
from radar_fast.engines import EngineOptions
from radar_fast.engines.encoding import Encoded, Encoder
from radar_fast.engines.prepared import ImageReuse
from radar_fast.errors import EngineError, RadarError, UsageError, one_line
from radar_fast.protocols import Protocol, open_protocol
from radar_fast.sample import Prompt, Reason
from radar_fast.stages import StageClock

__all__ = ["KEPT_BYTES", "Workers", "can_reopen", "choose_worker_kind", "serve"]

KEPT_BYTES = 64 * 2**20
"""Shared memory that a worker keeps between prompts; what a larger prompt took is given back after it."""

PROCESSES_PAY = {"workers": 2, "prompts": 1000}
"""From how many workers and prompts on ``auto`` takes processes; docs/pipeline.md has the measurements."""

_ALIGNED = 64
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from radar_fast.engines.workers import serve; serve()"


@dataclass(frozen=True, slots=True)
class _Job:
    """All that a worker needs to know before its first prompt."""

    checkpoint: Path
    trust_remote_code: bool
    protocol: str
    pixels: tuple[int, int] | None
    dtype: torch.dtype
    reuse: ImageReuse
    raw_pixels: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies in the shared memory."""

    name: str
    of_tokens: bool
    """Whether it is one of ``token_inputs``, else of ``inputs``."""
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a worker made of a prompt; the fields are those of Encoded."""

    prefix: tuple[int, ...]
    suffixes: tuple[tuple[int, ...], ...]
    scored_from: int
    places: tuple[_Place, ...]
    size: int
    """Bytes of shared memory that the tensors take."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """An error that is no single prompt's."""

    kind: str
    """Its name in :mod:`radar_fast.errors`."""
    message: str


class _WorkerDiedError(Exception):
    """The process at the other end is gone."""


def can_reopen(protocol: Protocol, checkpoint: Checkpoint) -> bool:
    """Whether a worker can make this protocol from its name: not one that a program has put together itself."""
    if protocol.name not in PROTOCOLS:
        return False
    least, most = protocol.pixels or (None, None)
    try:
        again = open_protocol(protocol.name, checkpoint, min_pixels=least, max_pixels=most)
    except RadarError:
        return False
    return dict(again.settings) == dict(protocol.settings)


def choose_worker_kind(options: EngineOptions, workers: int, protocol: Protocol, checkpoint: Checkpoint) -> str:
    """``threads`` or ``processes``.

    Raises:
        UsageError: an unknown name, or processes for a protocol that they cannot make themselves.
    """
    kind = options.worker_kind
    check_choice("worker-kind", kind, WORKER_KINDS)
    if kind == "auto":
        many = workers >= PROCESSES_PAY["workers"] and (options.expected or 0) >= PROCESSES_PAY["prompts"]
        return "processes" if many and can_reopen(protocol, checkpoint) else "threads"
    if kind == "processes" and not can_reopen(protocol, checkpoint):
        raise UsageError(f"--worker-kind processes: protocol {protocol.name!r} is made by a program; take threads")
    return kind


class Workers:
    """Processes that encode prompts. Use it from as many threads as there are workers, and close it."""

    def __init__(
        self,
        count: int,
        checkpoint: Checkpoint,
        protocol: Protocol,
        dtype: torch.dtype,
        reuse: ImageReuse,
        clock: StageClock,
        *,
        raw_pixels: bool = False,
    ) -> None:
        """Start ``count`` processes; they get ready while the caller goes on. ``protocol``: see :func:`can_reopen`."""
        self._job = _Job(
            checkpoint.path, checkpoint.trust_remote_code, protocol.name, protocol.pixels, dtype, reuse, raw_pixels
        )
        self._clock = clock
        self._closed = False
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        for _ in range(count):
            self._idle.put(self._start())

    @property
    def pids(self) -> list[int]:
        """Process ids of the present workers."""
        with self._lock:
            return sorted(worker.pid for worker in self._all)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, worker: "_Worker", prompt: Prompt) -> Encoded | Reason:
        answer, seconds = worker.ask(prompt)
        self._clock.add_all(seconds)
        return answer

    def _start(self) -> "_Worker":
        worker = _Worker(self._job)
        with self._lock:
            if not self._closed:
                self._all.add(worker)
                return worker
        worker.close()
        raise EngineError("the engine was closed while it was encoding")

    def _replace(self, worker: "_Worker") -> "_Worker":
        with self._lock:
            self._all.discard(worker)
        worker.close()
        return self._start()


class _Worker:
    """One process, from the engine's side. For one thread at a time."""

    def __init__(self, job: _Job) -> None:
        ours, theirs = socket.socketpair()
        self._memory = _Memory(_nameless_file())
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }
        with theirs:
            descriptors = (theirs.fileno(), self._memory.descriptor)
            # A group of its own: Ctrl-C is for the engine, which then closes the socket.
            self._process = subprocess.Popen(  # noqa: S603 # our own interpreter and code
                [sys.executable, "-P", "-c", _CODE, json.dumps(sys.path), *map(str, descriptors)],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                env=environment,
                process_group=0,
            )
        self._connection = Connection(ours.detach())
        with contextlib.suppress(OSError):  # of a worker that is dead already, the first prompt tells
            self._connection.send(job)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, prompt: Prompt) -> tuple[Encoded | Reason, dict[str, float]]:
        """The prompt encoded, and the seconds it took by stage. Raises _WorkerDiedError, and what a worker reports."""
        try:
            # Without what encoding does not need; a read-only mapping could not be sent at all.
            self._connection.send(replace(prompt, sample=replace(prompt.sample, parts=(), metadata={})))
            answer, seconds = self._connection.recv()
        except (EOFError, OSError):
            raise _WorkerDiedError(self._how_it_ended()) from None
        if isinstance(answer, _Failure):
            raise getattr(errors, answer.kind)(answer.message)
        if isinstance(answer, Reason):
            return answer, seconds
        try:
            tensors = self._memory.read(answer)
        finally:
            self._memory.shrink()
        inputs = {place.name: tensor for place, tensor in tensors if not place.of_tokens}
        token_inputs = {place.name: tensor for place, tensor in tensors if place.of_tokens}
        return Encoded(prompt, answer.prefix, answer.suffixes, answer.scored_from, inputs, token_inputs), seconds

    def close(self) -> None:
        """End the process and free what it shares."""
        # First the process: a thread that waits for it then reads the end of its socket, while there still is one.
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._memory.close()

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "it closed its socket"
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


class _Memory:
    """A file without a name, mapped by a worker and its engine. Tensors are put into it one after another."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    def write(self, tensors: list[torch.Tensor]) -> tuple[list[int], int]:
        """Lay contiguous CPU tensors into the file; their offsets, and the size in all. Grows the file as needed."""
        offsets, size = [], 0
        for tensor in tensors:
            offsets.append(size)
            size += -(-tensor.nbytes // _ALIGNED) * _ALIGNED
        if size > os.fstat(self.descriptor).st_size:
            os.ftruncate(self.descriptor, size)
        memory = self._mapped(size)
        for offset, tensor in zip(offsets, tensors, strict=True):
            if tensor.nbytes:
                view = torch.frombuffer(memory, dtype=torch.uint8, count=tensor.nbytes, offset=offset)
                view.copy_(tensor.reshape(-1).view(torch.uint8))
                del view  # a mapping cannot be closed while something looks at it
        return offsets, size

    def read(self, answer: _Answer) -> list[tuple[_Place, torch.Tensor]]:
        """Copies of the tensors that :meth:`write` has put there."""
        memory = self._mapped(answer.size)
        found = []
        for place in answer.places:
            tensor = torch.empty(place.shape, dtype=place.dtype)
            if tensor.nbytes:
                view = torch.frombuffer(memory, dtype=place.dtype, count=tensor.numel(), offset=place.offset)
                tensor.copy_(view.view(place.shape))
                del view
            found.append((place, tensor))
        return found

    def shrink(self) -> None:
        """Unmap what is more than a worker keeps. Both sides do so between prompts, the worker cuts the file too."""
        if self._map is not None and len(self._map) > KEPT_BYTES:
            self._map.close()
            self._map = None

    def close(self) -> None:
        """Unmap and close it."""
        if self._map is not None:
            with contextlib.suppress(BufferError):  # a thread is still copying; it is freed when that is done
                self._map.close()
            self._map = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _mapped(self, size: int) -> mmap.mmap:
        if self._map is None or len(self._map) < size:
            if self._map is not None:
                self._map.close()
            self._map = mmap.mmap(self.descriptor, max(size, 1, mmap.PAGESIZE))
        return self._map


def _nameless_file() -> int:
    """A descriptor of memory that needs no room in /dev/shm, which containers keep small."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("radar-fast")
    else:
        with tempfile.TemporaryFile() as file:  # has no name either, from the start
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, mmap.PAGESIZE)
    return descriptor


# In the worker -------------------------------------------------------------------------------------------------------


def serve() -> None:
    """A worker's main program: sys.argv ends with the descriptors of its socket and of its memory."""
    *_, descriptor, memory = sys.argv
    connection = Connection(int(descriptor))
    threading.Thread(target=_end_with, args=(int(descriptor),), daemon=True).start()
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, OSError):  # the engine is gone: so is the reason to be here
        for answer in _answers(connection, _Memory(int(memory))):
            connection.send(answer)
    os._exit(0)  # nothing here needs tidying, and libraries' threads may not want to end


def _answers(connection: Connection, memory: _Memory) -> Iterator[tuple[Any, dict[str, float]]]:
    clock = StageClock()
    job: _Job = connection.recv()
    encoder: Encoder | RadarError
    try:
        encoder = _encoder(job, clock)
    except RadarError as error:
        encoder = error
    while True:
        prompt: Prompt = connection.recv()
        memory.shrink()
        if os.fstat(memory.descriptor).st_size > KEPT_BYTES:
            os.ftruncate(memory.descriptor, KEPT_BYTES)
        answer: Any
        try:
            if isinstance(encoder, RadarError):
                raise encoder
            encoded = encoder.encode(prompt)
            answer = _shared(encoded, memory) if isinstance(encoded, Encoded) else encoded
        except RadarError as error:
            answer = _Failure(type(error).__name__, str(error))
        except MemoryError:
            raise  # as good as dead; the engine then tries once more
        except Exception as error:
            found = f"a worker process failed on {prompt.sample.key}: {type(error).__name__}: {one_line(error)}"
            answer = _Failure("EngineError", found)
        yield answer, clock.take()


def _encoder(job: _Job, clock: StageClock) -> Encoder:
    checkpoint = Checkpoint.open(job.checkpoint, trust_remote_code=job.trust_remote_code)
    least, most = job.pixels or (None, None)
    protocol = open_protocol(job.protocol, checkpoint, min_pixels=least, max_pixels=most)
    return Encoder(checkpoint, protocol, job.dtype, clock, job.reuse, raw_pixels=job.raw_pixels)


def _shared(encoded: Encoded, memory: _Memory) -> _Answer:
    named = [(False, *item) for item in encoded.inputs.items()] + [
        (True, *item) for item in encoded.token_inputs.items()
    ]
    tensors = [tensor.contiguous() for _, _, tensor in named]
    offsets, size = memory.write(tensors)
    places = tuple(
        _Place(name, of_tokens, tensor.dtype, tuple(tensor.shape), offset)
        for (of_tokens, name, _), tensor, offset in zip(named, tensors, offsets, strict=True)
    )
    return _Answer(encoded.prefix, encoded.suffixes, encoded.scored_from, places, size)


def _end_with(descriptor: int) -> None:
    """End this process as soon as the other end of the socket is closed, also in the middle of a picture."""
    poll = select.poll()
    poll.register(descriptor, getattr(select, "POLLRDHUP", 0))
    while not any(events & ~select.POLLIN for _, events in poll.poll()):
        pass
    os._exit(0)
