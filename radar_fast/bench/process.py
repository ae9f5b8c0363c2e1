"""The other end of a contender's process: start it, give it rounds, end it."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from radar_fast import errors
from radar_fast.bench.contender import Setup
from radar_fast.bench.memory import peak_host_mib
from radar_fast.util.orphans import STARTER, name_of

__all__ = ["ENVIRONMENT", "ContenderProcess", "Round", "environment_on"]

ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": "0"}
"""For all contenders alike: threads of an idle one must sleep at once, not spin beside the one whose turn it is."""


def environment_on(device: str) -> dict[str, str]:
    """What a contender's environment says on ``device``, whatever ours says.

    On a GPU vLLM runs in processes of its own, as its users have it: in one process its front end, scheduler and model
    would share an interpreter, and that would be measured.
    """
    return {**ENVIRONMENT, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"} if device == "cuda" else ENVIRONMENT


@dataclass(frozen=True)
class Round:
    """What a contender made of the samples."""

    seconds: float
    """From the file of samples to the file of results."""
    samples: int
    """How many were scored: the first of the file."""
    logits: list[list[list[float]]]
    """A sample, a candidate, a token; empty of one that gives none."""
    tokens_computed: int
    """Token positions of the language model, padding counted."""
    stages: Mapping[str, float]
    """Stage -> seconds."""
    logprobs: list[list[list[float]]] | None = None
    """Likewise, of one that gives them."""


class ContenderProcess:
    """A loaded contender in a process of its own. A context manager: leaving it ends the process and its children.

    Raises:
        RadarError: what the contender raised, or EngineError where its process died.
    """

    def __init__(self, setup: Setup) -> None:
        self.name = setup.name
        """Of the engine or peer."""
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "radar_fast.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment_on(setup.options.device), STARTER: name_of(os.getpid())},
            start_new_session=True,  # so that Ctrl-C reaches us alone, and its children can be ended with it
        )
        try:
            self.settings: Mapping[str, Any] = self._ask(setup.to_dict())["settings"]
            """What it says of itself."""
        except BaseException:
            self.close(patience=0.0)
            raise
        self.startup_seconds = time.perf_counter() - started
        """From nothing to ready, imports included."""

    def score(self, samples: Path, folder: Path, count: int | None = None) -> Round:
        """One round on the samples in a file, the first ``count`` of them where that is given; results go into
        ``folder``, which is empty."""
        answer = self._ask({"samples": str(samples), "folder": str(folder), "count": count})
        self.settings = answer.pop("settings")
        return Round(**answer)

    @property
    def pid(self) -> int:
        """Of the process; its children are the contender's too."""
        return self._process.pid

    def peak_host_mib(self) -> float:
        """Most resident memory so far, in MiB, its children counted."""
        return peak_host_mib(self._process.pid)

    def close(self, patience: float = 20.0) -> None:
        """End it, by force after ``patience`` seconds. Calling it twice is fine."""
        process = self._process
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what is left of its session
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(patience=20.0 if kind is None else 0.0)

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._answer(self._process.stdout)
        if not line:
            status = self._process.wait()
            raise errors.EngineError(
                f"{self.name}: its process ended with status {status}; what it said last is above"
                + (" (killed: out of memory?)" if status == -signal.SIGKILL else "")
            )
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:  # a library that writes to the pipe behind our back
            raise errors.EngineError(f"{self.name}: its process said no JSON: {line.strip()[:200]}") from None
        if "error" in answer:
            message = answer["error"]
            if self.name not in message:
                message = f"{self.name}: {message}"
            raise getattr(errors, answer["kind"])(message)
        return answer

    def _answer(self, stream: IO[str]) -> str:
        """The next line; empty once the process is dead. A child of its own may outlive it and hold its pipe open, so
        the end of the pipe is not waited for."""
        while not select.select([stream], [], [], 1.0)[0]:
            if self._process.poll() is not None and not select.select([stream], [], [], 0.0)[0]:
                return ""
        return stream.readline()
