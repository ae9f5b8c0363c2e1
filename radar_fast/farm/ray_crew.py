"""Engines as Ray actors, on a cluster that is there or on one that is started for this farm alone.

The driver names no task twice to Ray (no retries, no restarts): what an engine had when it died is given back, and the
driver decides. Engines and driver go together: Ray ends the actors of a driver that is gone, and the processes of a
cluster of our own end with the driver, however it did (:mod:`radar_fast.util.orphans`).
"""

import contextlib
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from radar_fast import errors
from radar_fast.errors import EngineError, RadarError, UsageError, one_line
from radar_fast.farm.crew import Answer, Crew, EngineDied, Ticket
from radar_fast.farm.host import EngineHost
from radar_fast.farm.messages import Order, Started
from radar_fast.farm.room import Machine, Placing
from radar_fast.util.orphans import ending_with_us, name_of
from radar_fast.util.reaper import end_started_by, reaping
from radar_fast.windows import Window

__all__ = ["RayCrew", "cluster", "machines"]

THREADS = 8
"""Questions that wait in an actor at a time: its windows, and one more of each kind."""
PASSED_ON = ("HF_", "OMP_", "TOKENIZERS_", "TRANSFORMERS_", "VLLM_")
"""How environment variables begin that engines get from the driver; what else they have is their machine's own."""
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_worker_niceness": "0",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
}
"""Of Ray, unless the user has set it: nothing is reported, an engine's Python is the driver's own, engines do not stand
back behind everything else on the machine (Ray's default is niceness 15), and a slow start is waited for."""
TRIES = 4
"""To start Ray here, which gives itself half a minute: too little where everybody waits for a core."""
CLOSE_SECONDS = 10.0
"""That engines have to close before they are killed."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """One of our errors, on its way: Ray would wrap it in one of its own."""

    kind: str
    message: str


class _Actor:
    """What runs in an engine's process."""

    def __init__(self, log: str, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._log = log
        with contextlib.suppress(OSError), Path(log).open("ab") as file:  # a machine that does not have the folder
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        self._host = EngineHost()

    def started(self) -> Started:
        node = ray.get_runtime_context().get_node_id()
        return Started(os.getpid(), socket.gethostname(), node, self._log)

    def open(self, order: Order) -> object:
        return _answered(lambda: self._host.open(order))

    def score(self, job: int, window: Window) -> object:
        return _answered(lambda: self._host.score(job, window))

    def report(self, job: int) -> object:
        return _answered(lambda: self._host.report(job))

    def close(self) -> None:
        self._host.close()


def _answered(question: Callable[[], object]) -> object:
    try:
        return question()
    except RadarError as error:
        return _Refused(type(error).__name__, str(error))


class RayCrew(Crew):
    """Engines on the cluster that :func:`cluster` has opened."""

    def __init__(self, placing: Placing, logs: Path) -> None:
        """
        Args:
            placing: what each takes, and how many there are.
            logs: the folder for what they print, made if absent.

        Raises:
            ResultsError: the folder cannot be made.
        """
        self.size = placing.engines
        self._placing, self._logs = placing, logs
        try:
            logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise errors.ResultsError(f"{logs}: cannot be made: {error.strerror}; name another --out") from None
        self._actors: dict[int, Any] = {}
        self._groups: dict[int, Any] = {}
        self._nodes: dict[int, str] = {}
        self._asked: dict[Any, tuple[Ticket, int]] = {}
        self._serial = 0

    def start(self, engine: int) -> Ticket:
        """As :class:`Crew`: placed as one, wherever there is room."""
        placing = self._placing
        if engine not in self._groups:
            strategy = "PACK" if placing.spread else "STRICT_PACK"
            self._groups[engine] = placement_group([dict(bundle) for bundle in placing.bundles], strategy=strategy)
        environment = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        options = {
            "num_cpus": placing.cpus,
            "num_gpus": placing.gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "max_concurrency": THREADS,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                self._groups[engine],
                placement_group_bundle_index=0,
                placement_group_capture_child_tasks=placing.spread,
            ),
        }
        log = str((self._logs / f"engine-{engine}.log").resolve())
        self._actors[engine] = ray.remote(**options)(_Actor).remote(log, environment)
        return self._put(engine, "started")

    def open(self, engine: int, order: Order) -> Ticket:
        """As :class:`Crew`."""
        return self._put(engine, "open", order)

    def score(self, engine: int, job: int, window: Window) -> Ticket:
        """As :class:`Crew`."""
        return self._put(engine, "score", job, window)

    def report(self, engine: int, job: int) -> Ticket:
        """As :class:`Crew`."""
        return self._put(engine, "report", job)

    def wait(self, seconds: float) -> list[Answer]:
        """As :class:`Crew`."""
        if not self._asked:
            return []
        waiting = list(self._asked)
        ready, _ = ray.wait(waiting, num_returns=1, timeout=seconds)
        if ready:  # and whatever else is there
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [self._answer(ref) for ref in ready]

    def end(self, engine: int) -> None:
        """As :class:`Crew`."""
        self._asked = {ref: asked for ref, asked in self._asked.items() if asked[1] != engine}
        actor = self._actors.pop(engine, None)
        self._nodes.pop(engine, None)
        if actor is not None:
            ray.kill(actor)

    def close(self) -> None:
        """As :class:`Crew`: those that are idle close what they have open."""
        idle = [actor for number, actor in self._actors.items() if number in self._nodes]
        if idle:
            with contextlib.suppress(RayError):
                ray.wait([actor.close.remote() for actor in idle], num_returns=len(idle), timeout=CLOSE_SECONDS)
        for engine in list(self._actors):
            self.end(engine)
        for group in self._groups.values():
            remove_placement_group(group)
        self._groups.clear()

    def _put(self, engine: int, method: str, *arguments: object) -> Ticket:
        self._serial += 1
        self._asked[getattr(self._actors[engine], method).remote(*arguments)] = (self._serial, engine)
        return self._serial

    def _answer(self, ref: Any) -> Answer:
        ticket, engine = self._asked.pop(ref)
        try:
            said = ray.get(ref)
        except RayTaskError as error:  # not one of ours: what was sent cannot be read there, or a mistake of ours
            return Answer(ticket, EngineError(f"engine {engine} failed: {one_line(error.cause or error)}"))
        except RayError as error:
            return Answer(ticket, self._died(engine, error))
        if isinstance(said, _Refused):
            said = getattr(errors, said.kind)(said.message)
        if isinstance(said, Started):
            self._nodes[engine] = said.node
        return Answer(ticket, said)

    def _died(self, engine: int, error: RayError) -> EngineDied:
        gone = {node["NodeID"] for node in ray.nodes() if not node["Alive"]}
        lost = self._nodes.get(engine) in gone or bool(getattr(error, "preempted", False))
        return EngineDied("its machine is gone" if lost else _why(error), lost)


def _why(error: RayError) -> str:
    """How an actor ended, of the page that Ray says about it."""
    text = str(error)
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return f"it cannot be started: {text.strip().splitlines()[-1]}"
    for sign, meaning in (
        ("SIGKILL", "killed, by somebody or for want of memory"),
        ("connection error code 2", "killed, by somebody or for want of memory"),
        ("SYSTEM_ERROR", "its process ended unexpectedly"),
    ):
        if sign in text:
            return meaning
    return one_line(error, 200)


@contextlib.contextmanager
def cluster(address: str, *, cpus: float, say: Callable[[str], None]) -> Iterator[None]:
    """Be part of a Ray cluster; one that was started for this is ended again. A program that is part of one stays so.

    Args:
        address: :attr:`radar_fast.farm.options.FarmOptions.address`.
        cpus: CPU cores that a cluster of our own is to have, at least: they count engines, and bind none of them.
        say: is told which cluster it is.

    Raises:
        UsageError: there is no cluster at that address, or none can be started.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        yield
        return
    with contextlib.ExitStack() as ours:
        found = _joined(address, cpus, ours)
        try:
            here = f"a cluster of {len(machines())} machines" if found else "on this machine alone"
            say(f"Ray {ray.__version__}: {here}")
            yield
        finally:
            ray.shutdown()


def _joined(address: str, cpus: float, ours: contextlib.ExitStack) -> bool:
    """Whether there was a cluster; else one is started, and ``ours`` holds what watches over it."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    with _signals_as_they_were():
        if address != "local":
            _see_that_somebody_answers(address)
            try:
                ray.init(address=address, **quiet)
            except Exception as error:  # of many kinds, by what is wrong
                if address != "auto":
                    raise UsageError(f"--address {address}: there is no Ray cluster: {one_line(error)}") from None
            else:
                return True
        ours.enter_context(reaping())
        cores = max(len(os.sched_getaffinity(0)), math.ceil(cpus))
        for left in reversed(range(TRIES)):
            try:
                with ending_with_us():
                    ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)
            except Exception as error:
                ray.shutdown()
                end_started_by(name_of(os.getpid()))  # what has started stays, as if it were needed
                if not left or "timed out during startup" not in str(error):
                    raise UsageError(f"--address {address}: Ray cannot be started here: {one_line(error)}") from None
            else:
                break
    return False


def _see_that_somebody_answers(address: str) -> None:
    """Ray itself tries for minutes. Raises UsageError."""
    host, colon, port = address.rpartition(":")
    if address == "auto" or "://" in address:
        return
    if not (colon and host and port.isdecimal()):
        raise UsageError(f"--address {address}: is auto, local, or HOST:PORT, as `ray start --head` says it")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--address {address}: there is no Ray cluster: {one_line(error)}") from None


def machines() -> Sequence[Machine]:
    """Of the cluster."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Machine(each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in resources]


@contextlib.contextmanager
def _signals_as_they_were() -> Iterator[None]:
    """Ray sets a handler of its own for SIGTERM."""
    ours = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if ours and before is not None:
            signal.signal(signal.SIGTERM, before)
