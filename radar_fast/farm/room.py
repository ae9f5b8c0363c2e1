"""How engines are placed: what each takes, and how many of them the machines have room for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radar_fast.engines import EngineOptions
from radar_fast.errors import UsageError
from radar_fast.farm.options import FarmOptions

__all__ = ["Machine", "Placing", "place"]

MOST_CPUS = 8
"""Cores of an engine with a GPU, unless more are asked for: as many as it has workers at most."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What one has in all."""

    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Placing:
    """What every engine of a farm takes."""

    engines: int
    """How many there are."""
    bundles: tuple[Mapping[str, float], ...]
    """Resources of each engine, each bundle on one machine: as many as Ray is to place together."""
    spread: bool
    """Whether vLLM starts its workers through Ray: a GPU is in each bundle, and none is the engine's own."""

    @property
    def cpus(self) -> float:
        """Of an engine's own process."""
        return 0.0 if self.spread else self.bundles[0].get("CPU", 0.0)

    @property
    def gpus(self) -> float:
        """Likewise."""
        return 0.0 if self.spread else self.bundles[0].get("GPU", 0.0)


def place(options: FarmOptions, engine: EngineOptions, machines: Sequence[Machine]) -> Placing:
    """What each engine takes, and how many there are.

    Args:
        options: as asked.
        engine: says how many GPUs work together, and on how many machines.
        machines: of the cluster.

    Raises:
        UsageError: no machine has room for one engine.
    """
    together = _world(engine)
    some_gpus = any(machine.gpus for machine in machines)
    spread = engine.arguments.get("distributed_executor_backend") == "ray"
    gpus = options.gpus_per_engine
    if gpus is None:
        gpus = float(together) if some_gpus else 0.0
    if spread and gpus != together:
        raise UsageError(
            f"--gpus-per-engine {gpus:g}: with distributed_executor_backend=ray each of {together} has one"
        )
    able = [machine for machine in machines if machine.gpus >= min(gpus, 1.0 if spread else gpus)]
    cpus = options.cpus_per_engine
    if cpus is None:
        cpus = _share(gpus, options.engines, able)
    if spread:
        bundles = tuple({"GPU": 1.0, "CPU": max(1.0, cpus // together)} for _ in range(together))
        count = int(sum(machine.gpus for machine in machines) // together)
    else:
        bundles = ({name: value for name, value in (("CPU", cpus), ("GPU", gpus)) if value},)
        count = sum(_fitting(machine, cpus, gpus) for machine in machines)
    if not count:
        largest = max(machines, key=lambda machine: (machine.gpus, machine.cpus), default=Machine(0, 0))
        raise UsageError(
            f"--gpus-per-engine {gpus:g} --cpus-per-engine {cpus:g}: no machine of the cluster has room for one such "
            f"engine; the largest has {largest.gpus:g} GPUs and {largest.cpus:g} CPU cores"
        )
    return Placing(options.engines or count, bundles, spread)


def _world(engine: EngineOptions) -> int:
    """GPUs that work together in one engine."""
    world = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
        value = engine.arguments.get(name, "1")
        world *= int(value) if value.isdecimal() and int(value) else 1  # vLLM says what is wrong with any other
    return world


def _share(gpus: float, engines: int | None, machines: Sequence[Machine]) -> float:
    """CPU cores for each."""
    shares = []
    for machine in machines:
        if gpus:
            shares.append(min(MOST_CPUS, machine.cpus // max(1, machine.gpus // gpus)))
        else:
            shares.append(machine.cpus // -(-(engines or len(machines)) // len(machines)))
    return max(1.0, min(shares, default=1.0))


def _fitting(machine: Machine, cpus: float, gpus: float) -> int:
    room = [int(has // wants) for has, wants in ((machine.cpus, cpus), (machine.gpus, gpus)) if wants]
    return min(room, default=1)
