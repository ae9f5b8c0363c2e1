"""``--engine-arg``: typed by vLLM's own parser; unknown names, wrong values and what is ours are refused."""

from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

from tiny import write_qwen2vl

from radar_fast.engines.vllm.options import WHOLE_REQUEST_TOKENS, engine_arguments, parse_arguments
from radar_fast.errors import ModelError, UsageError
from radar_fast.models.checkpoint import Checkpoint


def test_values_get_the_types_that_vllm_gives_them() -> None:
    given = {
        "tensor_parallel_size": "2",
        "gpu_memory_utilization": "0.5",
        "enforce_eager": "false",
        "enable_prefix_caching": "True",
        "quantization": "fp8",
        "max_model_len": "4k",
    }
    assert parse_arguments(given) == {
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.5,
        "enforce_eager": False,
        "enable_prefix_caching": True,
        "quantization": "fp8",
        "max_model_len": 4000,
    }
    assert parse_arguments({}) == {}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("tensor_paralel_size", "2", "did you mean tensor_parallel_size"),
        ("no_such_thing_at_all", "2", "vllm serve --help"),
        ("tensor_parallel_size", "two", "two"),
        ("dtype", "half", "use --dtype"),
        ("max_num_batched_tokens", "64", "use --batch-tokens"),
        ("runner", "generate", "leave it out"),
        ("hf_overrides", "{}", "leave it out"),
    ],
)
def test_wrong_ones_are_refused_by_name(name: str, value: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_arguments({name: value})
    assert "--engine-arg" in str(caught.value)
    assert "\n" not in str(caught.value)


def defaults(folder: Path, device: str = "cpu", batch_tokens: int | None = None, **given: object) -> dict[str, object]:
    return engine_arguments(
        Checkpoint.open(folder), dtype="float32", device=device, pixels=None, batch_tokens=batch_tokens, given=given
    )


def test_defaults_by_device_and_what_the_user_gave_over_them(tmp_path: Path) -> None:
    model = write_qwen2vl(tmp_path / "model")
    cpu, gpu = defaults(model), defaults(model, "cuda")
    for arguments in (cpu, gpu):
        assert arguments["enable_prefix_caching"] is True
        assert arguments["enforce_eager"] is True
        assert arguments["enable_chunked_prefill"] is False, "requests are whole"
        assert arguments["runner"] == "pooling"
        assert arguments["mm_processor_cache_gb"] < 1, (
            "vLLM's own 4 GiB only keep images that are never asked for again"
        )
    assert cpu["block_size"] == 32
    assert "block_size" not in gpu
    assert "gpu_memory_utilization" not in gpu
    assert (
        defaults(model, block_size=64, enforce_eager=False).items()
        >= {"block_size": 64, "enforce_eager": False}.items()
    )


def test_a_budget_below_the_model_splits_requests(tmp_path: Path) -> None:
    model = write_qwen2vl(tmp_path / "model")
    assert defaults(model, batch_tokens=64)["enable_chunked_prefill"] is True
    assert defaults(model, batch_tokens=64, enable_chunked_prefill=False)["enable_chunked_prefill"] is False
    longer = defaults(model, "cuda", max_model_len=10 * WHOLE_REQUEST_TOKENS)
    assert longer["max_num_batched_tokens"] == WHOLE_REQUEST_TOKENS
    assert longer["enable_chunked_prefill"] is True


def test_an_architecture_that_vllm_lacks(tmp_path: Path) -> None:
    model = write_qwen2vl(tmp_path / "model")
    config = model / "config.json"
    config.write_text(config.read_text().replace("Qwen2VLForConditionalGeneration", "NoSuchModel"))
    with pytest.raises(ModelError, match=r"config\.json.*NoSuchModel.*--engine transformers"):
        defaults(model)
