"""A series is as strong as its best members: bad checkpoints are told, and the others are scored."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bench_data import write_jsonl
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from radar_fast import FailedRun, RunConfig, ScoredRun, score, score_series
from radar_fast.cli import main
from radar_fast.errors import IncompleteError, ModelError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.results.journal import read_records

OPTIONS = {"engine": "transformers", "min_pixels": 3136, "max_pixels": 3136}


def spoil_nan(folder: Path) -> None:
    weights = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    next(tensor for name, tensor in weights.items() if "layers.1.mlp.up_proj" in name)[0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def spoil_infinite(folder: Path) -> None:
    weights = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    next(tensor for name, tensor in weights.items() if "embed_tokens" in name)[3, 0] = float("inf")  # of no question
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def spoil_half(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def spoil_depth(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["depth"] = 1
    (folder / "config.json").write_text(json.dumps(config))


def spoil_quantised(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}
    (folder / "config.json").write_text(json.dumps(config))


def spoil_trainer(folder: Path) -> None:
    shutil.rmtree(folder)
    (folder / "iter_0000100").mkdir(parents=True)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "half": (spoil_half, "incomplete; still being written?"),
    "gone": (shutil.rmtree, "no such checkpoint folder"),
    "adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "merge the adapter"),
    "stale": (lambda folder: (folder / "a.safetensors").touch(), "two sets of weights"),
    "mute": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer files"),
    "depth": (spoil_depth, "12 weights have no place"),
    "trainer": (spoil_trainer, "Megatron-LM"),
    "awq": (spoil_quantised, "quantised by awq, and transformers cannot load that here"),
    "text": (lambda folder: (folder / "config.json").write_text("{]"), "config.json: cannot be read"),
    "blind": (lambda folder: (folder / "preprocessor_config.json").unlink(), "processor cannot be loaded"),
}
NON_FINITE = {"nan": spoil_nan, "infinite": spoil_infinite}


def make(qwen2vl: Path, folder: Path, kind: str) -> Path:
    shutil.copytree(qwen2vl, folder)
    if kind in SPOILT:
        SPOILT[kind][0](folder)
    elif kind in NON_FINITE:
        NON_FINITE[kind](folder)
    return folder


@pytest.mark.full
def test_forty_checkpoints_of_mixed_soundness(qwen2vl: Path, tmp_path: Path) -> None:
    kinds = [*SPOILT, *NON_FINITE, *["sound"] * 8] * 2
    assert len(kinds) == 40
    kinds = kinds[::2] + kinds[1::2]  # sound ones among the others
    folders = [make(qwen2vl, tmp_path / "ckpt" / f"c{number}-{kind}", kind) for number, kind in enumerate(kinds)]
    data, out = write_jsonl(tmp_path / "data", count=3), tmp_path / "out"
    words = ["score", "--engine", "transformers", "--min-pixels", "3136", "--max-pixels", "3136"]
    words += ["--data", str(data), "--out", str(out)]
    result = CliRunner().invoke(main, [*words, *(word for folder in folders for word in ("--model", str(folder)))])
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    listed = result.stderr.split("were not scored:\n")[1].splitlines()
    assert result.stderr.split("were not scored:")[0].endswith("20 of 40 ")
    bad = [(folder, kind) for folder, kind in zip(folders, kinds, strict=True) if kind in SPOILT]
    for line, (folder, kind) in zip(listed, bad, strict=True):
        assert line.startswith(f"  {folder.name}: ")
        assert SPOILT[kind][1] in line
    good = {folder.name: kind for folder, kind in zip(folders, kinds, strict=True) if kind not in SPOILT}
    assert {entry.name for entry in out.iterdir()} == set(good), "nothing is left of the others"
    sds = set()
    for name, kind in good.items():
        summary = json.loads((out / name / "summary.json").read_text())["overall"]
        json.loads((out / name / "run.json").read_text(), parse_constant=pytest.fail)
        if kind == "sound":
            assert summary["scored"] == 3
            sds.add(summary["sds"])
        else:
            assert summary["reasons"] == {"non-finite": 3}
            records = list(read_records(out / name / "samples.jsonl"))
            assert all("infinite or no number" in str(record.reason) for record in records)
    assert len(sds) == 1


def series(tmp_path: Path, *models: Path) -> list[ScoredRun | FailedRun]:
    data = write_jsonl(tmp_path / "data", count=4)
    return score_series(RunConfig(data=data, out=tmp_path / "out", model=models[0], **OPTIONS), models)  # type: ignore[arg-type]


def test_only_incomplete_ones_may_be_tried_again(qwen2vl: Path, tmp_path: Path) -> None:
    good, half = (make(qwen2vl, tmp_path / name, name) for name in ("sound", "half"))
    data = write_jsonl(tmp_path / "data", count=2)
    words = [
        "score",
        "--engine",
        "transformers",
        "--data",
        str(data),
        "--model",
        str(half),
        "--out",
        str(tmp_path / "out"),
    ]
    assert CliRunner().invoke(main, words).exit_code == 75, "alone"
    assert not (tmp_path / "out").exists()
    both = CliRunner().invoke(main, [*words, "--model", str(good)])
    assert both.exit_code == 75, both.output
    assert "1 of 2 were not scored" in both.stderr
    shutil.rmtree(half)
    shutil.copytree(good, half)
    assert CliRunner().invoke(main, [*words, "--model", str(good)]).exit_code == 0, "the same command later"


def test_where_none_can_be_scored_nothing_is_left(qwen2vl: Path, tmp_path: Path) -> None:
    bad = [make(qwen2vl, tmp_path / name, name) for name in ("half", "adapter")]
    one, other = series(tmp_path, *bad)
    assert isinstance(one, FailedRun)
    assert isinstance(other, FailedRun)
    assert (type(one.error), type(other.error)) == (IncompleteError, ModelError)
    assert not (tmp_path / "out").exists()


def with_merges(qwen2vl: Path, folder: Path, *, reverse: bool) -> Path:
    """With its tokenizer as ``vocab.json`` and ``merges.txt``, as Qwen2's are published too."""
    shutil.copytree(qwen2vl, folder)
    state = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(state["model"]["vocab"]))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in state["model"]["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges[:20] if reverse else merges) + "\n")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    added = {str(token["id"]): {**token} for token in state["added_tokens"]}
    config |= {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("worker_kind", ["threads", pytest.param("processes", marks=pytest.mark.full)])
def test_each_is_asked_with_its_own_tokenizer(qwen2vl: Path, tmp_path: Path, worker_kind: str) -> None:
    one, two = (with_merges(qwen2vl, tmp_path / name, reverse=name == "two") for name in ("one", "two"))
    assert Checkpoint.open(one).differing_files(Checkpoint.open(two)) == ["merges.txt"]
    data = write_jsonl(tmp_path / "data", count=4)
    asked = RunConfig(data=data, out=tmp_path / "out", model=one, **OPTIONS)  # type: ignore[arg-type]
    from dataclasses import replace

    asked = replace(asked, options=replace(asked.options, worker_kind=worker_kind, workers=2))
    runs = score_series(asked, [one, two])
    alone = score(replace(asked, model=two, out=tmp_path / "alone"))
    sds = [run.summary.overall.sds for run in runs if isinstance(run, ScoredRun)]
    assert sds[1] == alone.overall.sds
    assert sds[0] != sds[1]


def test_weights_that_change_between_fingerprint_and_load(
    qwen2vl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, changing = (make(qwen2vl, tmp_path / name, name) for name in ("sound", "changing"))
    whole = Checkpoint.fingerprint

    def then_written(self: Checkpoint) -> dict[str, str]:
        found = whole(self)
        if self.name == "changing":
            weights = {name: tensor + 1 for name, tensor in load_file(self.path / "model.safetensors").items()}
            save_file(weights, self.path / "model.safetensors", {"format": "pt"})
        return found

    monkeypatch.setattr(Checkpoint, "fingerprint", then_written)
    first, second = series(tmp_path, good, changing)
    assert isinstance(first, ScoredRun)
    assert isinstance(second, FailedRun)
    assert isinstance(second.error, IncompleteError)
    assert "model.safetensors changed while it was being read" in str(second.error)
    assert not second.out.exists()


def test_a_run_goes_on_after_a_trainer_has_tidied_up(qwen2vl: Path, tmp_path: Path) -> None:
    model = make(qwen2vl, tmp_path / "model", "sound")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (model / name).write_text("x")
    data = write_jsonl(tmp_path / "data", count=4)
    config = RunConfig(data=data, out=tmp_path / "out", model=model, **OPTIONS)  # type: ignore[arg-type]
    before = score(config)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (model / name).unlink()
    assert score(config) == before


def test_weights_of_pickles_that_do_not_fit_are_named(qwen2vl: Path, tmp_path: Path) -> None:
    """They have no header to be read before, so that the engine finds it out; nothing is left behind either."""
    model = make(qwen2vl, tmp_path / "model", "depth")
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    torch.save(weights, model / "pytorch_model.bin")
    data = write_jsonl(tmp_path / "data", count=2)
    with pytest.raises(ModelError, match=r"12 weights have no place in .*visual\.blocks\.1\."):
        score(RunConfig(data=data, out=tmp_path / "out", model=model, **OPTIONS))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
