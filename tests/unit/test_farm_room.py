"""What each engine of a farm takes, and how many there is room for."""

import pytest

from radar_fast.engines import EngineOptions
from radar_fast.errors import UsageError
from radar_fast.farm.options import FarmOptions
from radar_fast.farm.room import Machine, place

NODE = Machine(cpus=96, gpus=8)
HEAD = Machine(cpus=4, gpus=0)


@pytest.mark.parametrize(
    ("options", "arguments", "machines", "engines", "bundle"),
    [
        ({}, {}, [NODE], 8, {"CPU": 8, "GPU": 1}),
        ({}, {}, [HEAD, NODE, NODE], 16, {"CPU": 8, "GPU": 1}),
        ({}, {}, [Machine(16, 8)], 8, {"CPU": 2, "GPU": 1}),
        ({"gpus_per_engine": 0.5}, {}, [NODE], 16, {"CPU": 6, "GPU": 0.5}),
        ({"gpus_per_engine": 2}, {}, [NODE], 4, {"CPU": 8, "GPU": 2}),
        ({}, {"tensor_parallel_size": "4"}, [NODE, Machine(64, 2)], 2, {"CPU": 8, "GPU": 4}),
        ({}, {"tensor_parallel_size": "2", "pipeline_parallel_size": "2"}, [NODE], 2, {"CPU": 8, "GPU": 4}),
        ({"cpus_per_engine": 24}, {}, [NODE], 4, {"CPU": 24, "GPU": 1}),
        ({"engines": 3}, {}, [NODE], 3, {"CPU": 8, "GPU": 1}),
        ({}, {}, [Machine(8, 0)], 1, {"CPU": 8}),
        ({}, {}, [Machine(8, 0), Machine(8, 0)], 2, {"CPU": 8}),
        ({"engines": 4}, {}, [Machine(8, 0), Machine(8, 0)], 4, {"CPU": 4}),
        ({"engines": 40}, {}, [Machine(8, 0)], 40, {"CPU": 1}),
        ({}, {"tensor_parallel_size": "2"}, [Machine(8, 0)], 1, {"CPU": 8}),
    ],
)
def test_room(
    options: dict[str, float],
    arguments: dict[str, str],
    machines: list[Machine],
    engines: int,
    bundle: dict[str, float],
) -> None:
    placing = place(FarmOptions(**options), EngineOptions(arguments=arguments), machines)  # type: ignore[arg-type] # of two types
    assert (placing.engines, placing.bundles) == (engines, (bundle,))
    assert (placing.cpus, placing.gpus) == (bundle["CPU"], bundle.get("GPU", 0))


def test_gpus_of_several_machines_are_bundles_of_one() -> None:
    arguments = {"tensor_parallel_size": "4", "distributed_executor_backend": "ray"}
    placing = place(FarmOptions(), EngineOptions(arguments=arguments), [Machine(16, 2)] * 4)
    assert placing.engines == 2
    assert placing.bundles == ({"GPU": 1, "CPU": 2},) * 4
    assert (placing.cpus, placing.gpus) == (0, 0), "vLLM's workers take them"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"gpus_per_engine": 9}, "no machine of the cluster has room .* the largest has 8 GPUs and 96 CPU cores"),
        ({"cpus_per_engine": 97}, "--cpus-per-engine 97: no machine"),
    ],
)
def test_no_room(options: dict[str, float], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        place(FarmOptions(**options), EngineOptions(), [NODE])  # type: ignore[arg-type] # as above


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"engines": 0}, "--engines 0: must be at least 1"),
        ({"gpus_per_engine": 1.5}, "more than one is a whole number"),
        ({"gpus_per_engine": -1}, "must be at least 0"),
        ({"cpus_per_engine": float("nan")}, "must be at least 0"),
        ({"address": " "}, "--address: is empty"),
    ],
)
def test_what_cannot_be(options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        FarmOptions(**options)  # type: ignore[arg-type] # wrong on purpose
