"""What would go wrong on the first GPU, seen on a machine without: vLLM's own front end, told that it has an H100."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

from tiny import write_qwen2vl
from vllm.model_executor.models.config import MODELS_CONFIG_MAP
from vllm.model_executor.models.registry import ModelRegistry
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItem

try:  # vLLM 0.32, and before
    from vllm.multimodal.cache.base import MultiModalCache
except ImportError:
    from vllm.multimodal.cache import MultiModalCache

from radar_fast.engines.vllm.derive import PREFIX
from radar_fast.engines.vllm.engine import VllmEngine
from radar_fast.engines.vllm.options import check_plugin, engine_arguments, parse_arguments
from radar_fast.engines.vllm.plugin import register
from radar_fast.errors import UsageError
from radar_fast.models.checkpoint import Checkpoint

START = """
import json, sys
from pathlib import Path
import pretend_cuda
pretend_cuda.install(platform=False)
import radar_fast.engines.vllm.engine as engine
start = engine.VllmEngine._start
def started(self, options):
    assert "vllm" not in sys.modules, "vLLM is imported before its environment is set"
    pretend_cuda.install_platform()
    return start(self, options)
engine.VllmEngine._start = started
from radar_fast.config import RunConfig
from radar_fast.run import score
try:
    score(RunConfig(model=Path(sys.argv[1]), data=Path(sys.argv[2]), out=Path(sys.argv[3])))
except pretend_cuda.ProcessStarted:
    pass
print(json.dumps({"driver": pretend_cuda.DRIVER, "started": pretend_cuda.STARTED}))
"""

CONFIGURE = """
import json, sys
from pathlib import Path
import pretend_cuda
pretend_cuda.install()
from vllm.engine.arg_utils import EngineArgs
from vllm.usage.usage_lib import UsageContext
from radar_fast.engines.vllm.options import engine_arguments
from radar_fast.models.checkpoint import Checkpoint
found = {}
for name in sys.argv[1:]:
    given = {"quantization": "fp8"} if name == "online" else {}
    arguments = engine_arguments(
        Checkpoint.open(Path(name if name != "online" else sys.argv[1])),
        dtype="bfloat16", device="cuda", pixels=None, batch_tokens=None, given=given,
    )
    config = EngineArgs(**arguments).create_engine_config(UsageContext.ENGINE_CONTEXT)
    found[Path(name).name] = {
        "sequences": config.scheduler_config.max_num_seqs,
        "head": str(config.model_config.head_dtype),
        "quantization": config.model_config.quantization,
        "device": config.device_config.device_type,
    }
print(json.dumps(found))
"""


def pretended(code: str, *arguments: object) -> Any:
    """The last line, JSON, of a process in which vLLM's engine would run in one of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VLLM_", "PYTORCH_"))}
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.full
def test_nothing_initialises_cuda_before_vllms_processes_start(tmp_path: Path) -> None:
    from radar_fast.demo.mini_m3 import write_mini_m3

    model, data = write_qwen2vl(tmp_path / "model"), tmp_path / "data"
    write_mini_m3(data)
    found = pretended(START, model, data, tmp_path / "out")
    assert found["driver"] == []
    assert found["started"] == [["spawn", "spawn"]], "--engine auto takes vLLM, which spawns its engine's process"


@pytest.mark.full
def test_configurations_for_a_gpu(tmp_path: Path) -> None:
    plain, quantised = write_qwen2vl(tmp_path / "plain"), write_qwen2vl(tmp_path / "quantised")
    config = json.loads((quantised / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True}
    (quantised / "config.json").write_text(json.dumps(config))
    found = pretended(CONFIGURE, plain, quantised, "online")
    assert {name: some["device"] for name, some in found.items()} == dict.fromkeys(found, "cuda")
    assert {some["sequences"] for some in found.values()} == {1024}, "a step takes all requests that vLLM holds"
    assert found["plain"]["head"] == "torch.float32"
    for name in ("quantised", "online"):
        assert found[name]["quantization"]
        assert found[name]["head"] == "torch.bfloat16", "vLLM refuses a float32 head that is quantised"


def test_a_step_below_1024_tokens_takes_as_many_requests(tmp_path: Path) -> None:
    arguments = engine_arguments(
        Checkpoint.open(write_qwen2vl(tmp_path / "model")),
        dtype="bfloat16",
        device="cuda",
        pixels=None,
        batch_tokens=256,
        given={},
    )
    assert arguments["max_num_seqs"] == 256, "vLLM refuses more requests than tokens"


def test_what_vllm_does_for_an_architecture_it_does_for_ours() -> None:
    register()
    theirs = {name: done for name, done in MODELS_CONFIG_MAP.items() if not name.startswith(PREFIX)}
    assert theirs.keys() & ModelRegistry.get_supported_archs()
    for architecture, done in theirs.items():
        assert MODELS_CONFIG_MAP.get(PREFIX + architecture) is done, architecture


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("pixels", [None, (3136, 12845056), (3136, 602112)])
def test_the_image_cache_holds_the_largest_image(dtype: str, pixels: tuple[int, int] | None, tmp_path: Path) -> None:
    """Of Qwen2-VL: an image token is four patches of 1,176 numbers, of 28 x 28 pixels."""
    arguments = engine_arguments(
        Checkpoint.open(write_qwen2vl(tmp_path / "model")),
        dtype=dtype,
        device="cuda",
        pixels=pixels,
        batch_tokens=None,
        given={},
    )
    tokens = arguments["max_num_batched_tokens"]
    if pixels is not None:
        tokens = min(tokens, pixels[1] // 28**2)
    patches = torch.empty(4 * tokens, 1176, dtype=getattr(torch, dtype), device="meta")
    batched = MultiModalFieldConfig.batched("image")
    made = {"pixel_values": patches[None], "image_grid_thw": torch.ones(1, 3, dtype=torch.int64)}
    item = MultiModalKwargsItem({name: batched.build_elems(name, value)[0] for name, value in made.items()})
    size = MultiModalCache.get_item_size(item)
    assert size > patches.nbytes
    assert size <= arguments["mm_processor_cache_gb"] * 2**30


def test_small_images_keep_a_small_cache(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(write_qwen2vl(tmp_path / "model"))
    for bounds in ({"pixels": (3136, 602112)}, {"pixels": None, "tiles": 12}):
        arguments = engine_arguments(checkpoint, dtype="float32", device="cuda", batch_tokens=None, given={}, **bounds)
        assert arguments["mm_processor_cache_gb"] == 0.125


@pytest.mark.parametrize("value", ["2", "8"])
def test_data_parallelism_is_refused(value: str) -> None:
    for name in ("data_parallel_size", "data_parallel_size_local"):
        with pytest.raises(UsageError, match=rf"{name}={value}: data parallelism is not supported"):
            parse_arguments({name: value})
    assert parse_arguments({"data_parallel_size": "1"}) == {"data_parallel_size": 1}


class Ranks:
    """An engine whose workers have counted."""

    def __init__(self, *counts: tuple[int, bool]) -> None:
        self.counts = list(counts)

    def collective_rpc(self, _: str) -> list[tuple[int, bool]]:
        return self.counts


@pytest.mark.parametrize(
    "counts",
    [[(7, True)], [(7, True), (7, True)], [(7, False), (0, True)], [(7, False), (7, False), (0, True), (0, True)]],
)
def test_counts_of_all_stages_of_a_pipeline(counts: list[tuple[int, bool]]) -> None:
    engine = VllmEngine.__new__(VllmEngine)
    engine._engine = Ranks(*counts)
    assert engine._worker_counts() == (7, True)


def test_a_checkout_that_is_not_installed_is_told_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING", raising=False)
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    check_plugin({})
    monkeypatch.setenv("VLLM_PLUGINS", "other")
    with pytest.raises(UsageError, match="VLLM_PLUGINS=other"):
        check_plugin({})
    monkeypatch.delenv("VLLM_PLUGINS")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    with pytest.raises(UsageError, match=r"not installed.*pip install --no-deps --no-build-isolation -e \."):
        check_plugin({})
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    check_plugin({})
    with pytest.raises(UsageError, match="not installed"):
        check_plugin({"tensor_parallel_size": 2})
