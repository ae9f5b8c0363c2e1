"""A worker's main program, and that of the process that workers are forked from; and what they say to the engine's."""

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from radar_fast.engines.encode.encoder import Encoded, Encoder
from radar_fast.engines.encode.image_cache import ImageReuse
from radar_fast.engines.encode.shared_memory import KEPT_BYTES, Place, SharedMemory
from radar_fast.errors import RadarError, one_line
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol
from radar_fast.sample import Prompt
from radar_fast.util.clock import Clock

__all__ = ["Answer", "Failure", "Job", "serve"]


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker needs to know before its first prompt."""

    checkpoint: Path
    trust_remote_code: bool
    protocol: str
    pixels: tuple[int, int] | None
    image_backend: str
    dtype: torch.dtype
    reuse: ImageReuse
    raw_pixels: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker made of a prompt; the fields are those of Encoded."""

    prefix: tuple[int, ...]
    suffixes: tuple[tuple[int, ...], ...]
    scored_from: int
    unexpanded: tuple[int, ...]
    places: tuple[Place, ...]
    size: int
    """Bytes of shared memory that the tensors take."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that is no single prompt's."""

    kind: str
    """Its name in :mod:`radar_fast.errors`."""
    message: str


def serve() -> None:
    """Main program of the process that workers are forked from: sys.argv ends with the descriptor of its socket.

    It does as it is told, ``("fork", job)`` with two descriptors or ``("end", pid)``, until the socket is closed. One
    encoder is made for all workers of a job. Nothing here may start a thread, or a fork would not be safe.
    """
    *_, descriptor = sys.argv
    torch.set_num_threads(1)
    _import_ahead()
    clock = Clock()
    job: Job | None = None
    with contextlib.suppress(EOFError, ConnectionError), socket.socket(fileno=int(descriptor)) as told:
        connection = Connection(os.dup(told.fileno()))
        for what, of, descriptors in _orders(told, connection):
            if what == "end":
                connection.send(_end(of))
                continue
            if job != of:
                job, encoder = of, _encoder_or_error(of, clock)
                gc.freeze()  # or a worker's first collection would copy what it shares with the others
            with contextlib.suppress(OSError):  # no room for another process: the engine finds the socket closed
                if os.fork() == 0:
                    connection.close()
                    told.close()
                    _work(encoder, clock, *descriptors)
            for one in descriptors:
                os.close(one)
    os._exit(0)  # nothing here needs tidying


def _orders(told: socket.socket, connection: Connection) -> Iterator[tuple[str, Any, list[int]]]:
    """What the engine says, with the descriptors that come with it; ends, or raises EOFError, when the engine has."""
    while True:
        what, of = connection.recv()
        descriptors: list[int] = []
        if what == "fork":
            _, descriptors, *_ = socket.recv_fds(told, 1, 2)
            if len(descriptors) < 2:  # it died while it said so
                return
        yield what, of, descriptors


def _import_ahead() -> None:
    """What every encoder needs, while it is not known yet which."""
    with contextlib.suppress(ImportError, RuntimeError):  # whoever needs it says what is wrong
        importlib.import_module("transformers.models.auto.processing_auto")


def _end(pid: int) -> int:
    """Kill a worker, which may be dead already, and see how it ended."""
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _work(encoder: Encoder | RadarError, clock: Clock, descriptor: int, memory: int) -> None:
    """A worker's life; does not return."""
    try:
        connection = Connection(descriptor)
        threading.Thread(target=_end_with, args=(descriptor,), daemon=True).start()
        with contextlib.suppress(EOFError, OSError):  # the engine is gone: so is the reason to be here
            connection.send(os.getpid())
            for answer in _answers(connection, SharedMemory(memory), encoder, clock):
                connection.send(answer)
        os._exit(0)  # libraries' threads may not want to end
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _answers(
    connection: Connection, memory: SharedMemory, encoder: Encoder | RadarError, clock: Clock
) -> Iterator[tuple[Any, dict[str, float]]]:
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
            answer = Failure(type(error).__name__, str(error))
        except MemoryError:
            raise  # as good as dead; the engine then tries once more
        except Exception as error:
            found = f"a worker process failed on {prompt.sample.key}: {type(error).__name__}: {one_line(error)}"
            answer = Failure("EngineError", found)
        yield answer, clock.take()


def _encoder_or_error(job: Job, clock: Clock) -> Encoder | RadarError:
    try:
        return _encoder(job, clock)
    except RadarError as error:  # for whoever asks for the first prompt
        return error


def _encoder(job: Job, clock: Clock) -> Encoder:
    checkpoint = Checkpoint.open(job.checkpoint, trust_remote_code=job.trust_remote_code)
    least, most = job.pixels or (None, None)
    protocol = open_protocol(
        job.protocol, checkpoint, min_pixels=least, max_pixels=most, image_backend=job.image_backend
    )
    return Encoder(checkpoint, protocol, job.dtype, clock, job.reuse, raw_pixels=job.raw_pixels)


def _shared(encoded: Encoded, memory: SharedMemory) -> Answer:
    named = [(False, *item) for item in encoded.inputs.items()] + [
        (True, *item) for item in encoded.token_inputs.items()
    ]
    tensors = [tensor.contiguous() for _, _, tensor in named]
    offsets, size = memory.write(tensors)
    places = tuple(
        Place(name, of_tokens, tensor.dtype, tuple(tensor.shape), offset)
        for (of_tokens, name, _), tensor, offset in zip(named, tensors, offsets, strict=True)
    )
    return Answer(encoded.prefix, encoded.suffixes, encoded.scored_from, encoded.unexpanded, places, size)


def _end_with(descriptor: int) -> None:
    """End this process as soon as the other end of the socket is closed, also in the middle of a picture."""
    poll = select.poll()
    poll.register(descriptor, getattr(select, "POLLRDHUP", 0))
    while not any(events & ~select.POLLIN for _, events in poll.poll()):
        pass
    os._exit(0)
