"""What the vLLM engine makes of checkpoints that are not sound: one line, a log beside the results, and it goes on."""

import json
import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

import torch
from bench_data import write_jsonl
from safetensors.torch import load_file, save_file

from radar_fast import FailedRun, RunConfig, ScoredRun, score_series
from radar_fast.engines.vllm.startup import StartupLog, root_cause


@pytest.mark.full
def test_a_series_goes_on_in_one_engine(qwen2vl: Path, tmp_path: Path) -> None:
    names = ("first", "nan", "shallow", "quantised", "last")
    folders = [Path(shutil.copytree(qwen2vl, tmp_path / name)) for name in names]
    _, nan, shallow, quantised, _ = folders
    weights = {name: tensor.clone() for name, tensor in load_file(nan / "model.safetensors").items()}
    next(tensor for name, tensor in weights.items() if "layers.1.mlp.up_proj" in name)[0, 0] = float("nan")
    save_file(weights, nan / "model.safetensors", {"format": "pt"})
    config = json.loads((shallow / "config.json").read_text())
    config["vision_config"]["depth"] = 1
    (shallow / "config.json").write_text(json.dumps(config))
    config["vision_config"]["depth"] = 2
    config["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    (quantised / "config.json").write_text(json.dumps(config))
    asked = RunConfig(
        data=write_jsonl(tmp_path / "data", count=3),
        out=tmp_path / "out",
        model=folders[0],
        engine="vllm",
        min_pixels=3136,
        max_pixels=3136,
    )
    first, infinite, fewer, refused, last = score_series(asked, folders)
    assert isinstance(first, ScoredRun)
    assert isinstance(last, ScoredRun)
    assert last.summary.overall.sds == pytest.approx(first.summary.overall.sds, abs=1e-5)
    assert isinstance(infinite, ScoredRun)
    assert infinite.summary.overall.reasons == {"non-finite": 3}
    assert isinstance(fewer, FailedRun)
    assert "12 weights have no place in the model" in str(fewer.error)
    assert isinstance(refused, FailedRun)
    log = tmp_path / "out" / "quantised.vllm.log"
    assert str(refused.error).endswith(f"(vLLM's own account is in {log})")
    assert "float32 is not supported for quantization method awq" in str(refused.error)
    assert "\n" not in str(refused.error)
    assert "Traceback (most recent call last)" in log.read_text()
    assert {entry.name for entry in asked.out.iterdir()} == {"first", "nan", "last", log.name}


@pytest.mark.parametrize(
    ("error", "said", "cause"),
    [
        ("no such thing", "ValueError: other", "no such thing"),
        (
            "Engine core initialization failed. See root cause above. Failed core proc(s): {}",
            "(EngineCore pid=7) ERROR 11-25 core.py:1] ValueError: 12 weights\n"
            "(EngineCore pid=7) RuntimeError: Engine core initialization failed. See root cause above.",
            "12 weights",
        ),
        ("Engine core initialization failed.", "nothing of use", "Engine core initialization failed."),
        ("1 validation error for VllmConfig\n  Value error, too long [type=value_error, input=1]", "", "too long"),
    ],
)
def test_the_root_cause(error: str, said: str, cause: str) -> None:
    assert root_cause(RuntimeError(error), said) == cause


def test_what_is_said_at_a_start_is_kept_or_given_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_LOGGING_LEVEL", raising=False)
    with StartupLog():
        os.write(2, b"a warning\n")
        torch.zeros(1)
    assert capfd.readouterr().err in ("a warning\n", "")
    log = StartupLog()

    def failing() -> None:
        with log:
            os.write(2, b"why\n")
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        failing()
    assert capfd.readouterr().err == ""
    assert log.text == "why\n"
    assert log.keep(None) == ""
    assert "is in" in log.keep(tmp_path / "deep" / "a.log")
    assert "why" in (tmp_path / "deep" / "a.log").read_text()
