"""A blank question: in no number of ours, and in the published files as RADAR's scripts count it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from radar_fast import ReasonKind, RunConfig, open_reader, score
from radar_fast.scores import softmax_float32

NAME = "Wiki_plant_identification"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / NAME
    (folder / "images").mkdir(parents=True)
    records = {
        "1": {"question": "Which plant is it?", "answer": "oak", "distraction": ["elm", "ash tree"]},
        "2": {"question": " ", "answer": "oak", "distraction": ["elm"]},
        "3": {"question": "", "answer": "elm", "distraction": ["fir", "old oak"]},
        "4": {"question": None, "answer": "elm", "distraction": ["fir"]},
    }
    (folder / f"{NAME}_4_pretrained_mllm_eval.json").write_text(json.dumps(records))
    for number in records:
        Image.new("RGB", (40, 40), (int(number) * 50, 90, 30)).save(folder / "images" / f"{number}.jpg")
    return tmp_path / "data"


def test_it_is_unscored_and_the_published_files_count_it(data: Path, tmp_path: Path) -> None:
    kinds = [sample.reason.kind if sample.reason else None for sample in open_reader(data)]
    assert kinds == [None, ReasonKind.BLANK_QUESTION, ReasonKind.BLANK_QUESTION, ReasonKind.BAD_RECORD]
    summary = score(RunConfig(data=data, out=tmp_path / "out", engine="fake", official_out=tmp_path / "official"))
    assert (summary.overall.scored, summary.overall.unscored) == (1, 3)
    assert summary.overall.reasons == {"bad-record": 1, "blank-question": 2}
    assert summary.complete

    lines = {
        line["id"]: line for line in map(json.loads, (tmp_path / "out" / "samples.jsonl").read_text().splitlines())
    }
    assert [lines[number]["status"] for number in "1234"] == ["scored", "unscored", "unscored", "unscored"]
    assert [len(lines[number]["logits"]) for number in "1234"] == [3, 2, 3, 0]
    assert lines["2"]["sds"] is lines["2"]["correct"] is None

    stem = f"{NAME}_4_pretrained_mllm_eval"
    [file] = (tmp_path / "official" / NAME / stem).glob("*.json")
    published = json.loads(file.read_text())
    assert [entry["q_id"] for entry in published] == ["1", "2", "3"]
    assert [entry["question"] for entry in published] == ["Which plant is it?", " ", ""]
    shares = []
    for entry in published:
        means = [sum(tokens) / len(tokens) for tokens in lines[entry["q_id"]]["logits"]]
        assert entry["answers_ori_logits"] == lines[entry["q_id"]]["logits"]
        assert entry["answers_avg_logits"] == means
        shares.append(softmax_float32(means))
    right = sum(share[0] == max(share) for share in shares)
    mean = sum(share[0] for share in shares) / 3
    assert file.with_suffix(".txt").read_text() == f"Success Rate: {right}/4:{right * 25:.2f}%, Answer Prob: {mean}\n"


def test_under_other_conditions_nobody_has_published_it(data: Path, tmp_path: Path) -> None:
    config = RunConfig(data=data, out=tmp_path / "out", engine="fake", candidates="letter")
    assert score(config).overall.reasons == {"bad-record": 1, "blank-question": 2}
    lines = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert [len(line["logits"]) for line in sorted(lines, key=lambda line: line["id"])] == [3, 0, 0, 0]
