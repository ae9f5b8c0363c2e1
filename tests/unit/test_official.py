"""The export, against the published scripts' own lines over the same logits."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from radar_fast.errors import ResultsError
from radar_fast.results.journal import Journal, read_records
from radar_fast.results.manifest import Manifest
from radar_fast.results.metrics import summarize
from radar_fast.results.official import export_official, official_name
from radar_fast.results.record import Record, record_of
from radar_fast.sample import Candidate, Reason, ReasonKind, Sample, Scored

NAME = "tiny-qwen2vl_200704~602112"
SUFFIX = "_pretrained_mllm_eval"

# torch's exponential may be off by 20 units in the last place (2**-24 each) and by other ones on other processors; a
# probability p moves by at most twice that, times p (1 - p).
TORCH_SOFTMAX = 2 * 20 * 2**-24 / 4

Item = dict[str, Any]  # of a data file, with the logits that the model gives; None: skipped for its images


def data_file(count: int, seed: int, exact: bool) -> dict[str, Item]:
    """q_id -> record. ``exact``: two candidates with equal logits or far apart, where any softmax has the same bits."""
    draw = random.Random(seed)
    items: dict[str, Item] = {}
    for number in draw.sample(range(10 * count), count):
        if exact:
            first = draw.choice([2.5, 4.0])
            logits = [[first] * 3, [first if draw.random() < 0.5 else draw.choice([-200.0, 300.0])] * 2]
        else:
            # bf16 has 8 bits of mantissa: sums of such logits are exact, and equal means no rarity.
            logits = [[draw.randint(-80, 80) / 8 for _ in range(draw.randint(1, 6))] for _ in range(4)]
        answers = [f"answer é {place} \ud83d" for place in range(len(logits))]
        skipped = draw.random() < 0.2
        items[f"q{number}"] = {
            "question": f"Wo <image 1> №{number}?\n",
            "answers": answers,
            "logits": None if skipped else logits,
        }
    return items


def published(files: dict[str, dict[str, Item]], directory: str, out: Path) -> None:
    """What the published loop does with each record once it has the logits, to the letter."""
    all_cat_res = {}
    for stem in sorted(files):
        data = files[stem]
        q_ids = list(data.keys())
        total_success = 0
        all_res = []
        all_avg_prob = []
        for q_id in q_ids:
            item = data[q_id]
            if item["logits"] is None:
                continue
            answers_avg_logits = []
            answers_ori_logits = []
            for answer_logits in item["logits"]:
                answers_avg_logits.append(sum(answer_logits) / len(answer_logits))
                answers_ori_logits.append(answer_logits.copy())
            answer_prob = torch.softmax(torch.tensor(answers_avg_logits), dim=0)
            success = answer_prob.argmax().item() == 0
            if success:
                total_success += 1
            all_res.append(
                {
                    "q_id": q_id,
                    "question": item["question"],
                    "answers": item["answers"],
                    "success": success,
                    "answer_prob": answer_prob.tolist(),
                    "answers_avg_logits": answers_avg_logits,
                    "answers_ori_logits": answers_ori_logits,
                }
            )
            all_avg_prob.append(answer_prob[0].item())
        accuracy = total_success / len(q_ids)
        avg_prob = sum(all_avg_prob) / len(all_avg_prob)
        all_cat_res[stem.split(SUFFIX)[0]] = {"accuracy": accuracy, "avg_prob": avg_prob}
        folder = out / directory / stem
        folder.mkdir(parents=True)
        with (folder / f"{NAME}.json").open("w") as f:
            json.dump(all_res, f)
        (folder / f"{NAME}.txt").write_text(
            f"Success Rate: {total_success}/{len(q_ids)}:{accuracy * 100:.2f}%, Answer Prob: {avg_prob}\n"
        )
    if "MMBench" in stem or "MMMU_Pro" in stem:
        all_avg_acc = sum(all_cat_res[k]["accuracy"] for k in all_cat_res) / len(all_cat_res)
        all_avg_prob_ = sum(all_cat_res[k]["avg_prob"] for k in all_cat_res) / len(all_cat_res)
        (out / directory / "total").mkdir()
        with (out / directory / "total" / f"{NAME}.json").open("w") as f:
            json.dump(all_cat_res, f)
        (out / directory / "total" / f"{NAME}.txt").write_text(
            f"Average Success Rate: {sum(all_cat_res[k]['accuracy'] for k in all_cat_res)}/{len(all_cat_res)}"
            f":{all_avg_acc * 100:.2f}%, Average Answer Prob: {all_avg_prob_}\n"
        )


def ours(files: dict[str, dict[str, Item]], directory: str) -> list[Record]:
    records = []
    for stem, data in files.items():
        for index, (q_id, item) in enumerate(data.items()):
            sample = Sample(
                id=q_id,
                task=stem.split(SUFFIX)[0],
                directory=directory,
                ability="reasoning",
                parts=(),
                candidates=tuple(item["answers"]),
                answer=0,
                metadata={"question": item["question"], "index": index, "stem": stem},
            )
            if item["logits"] is None:
                scored = Scored(sample, reason=Reason(ReasonKind.TOO_MANY_IMAGES, "13 images"))
            else:
                scored = Scored(
                    sample, tuple(Candidate(tuple(logits), (-1.0,) * len(logits)) for logits in item["logits"])
                )
            records.append(record_of(scored))
    random.Random(0).shuffle(records)  # the journal has them in the order in which they were scored
    return records


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


DIRECTORIES = {
    "general_visual_question_answering": [f"MMBench_ocr_30{SUFFIX}", f"MMBench_image_scene_9{SUFFIX}", "MMBench_x"],
    "multiple_discipline_reasoning": [f"MMMU_Pro_Art_4_30{SUFFIX}"],
    "mathematical_reasoning": [f"MathVista_30{SUFFIX}", f"another_30{SUFFIX}"],
}


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_files_are_the_published_ones_byte_for_byte(tmp_path: Path, directory: str) -> None:
    files = {stem: data_file(30, seed, exact=True) for seed, stem in enumerate(DIRECTORIES[directory])}
    published(files, directory, tmp_path / "published")
    written = export_official(ours(files, directory), tmp_path / "ours", NAME)
    assert tree(tmp_path / "ours") == tree(tmp_path / "published")
    assert sorted(written) == sorted(path for path in (tmp_path / "ours").rglob("*") if path.is_file())
    assert len(written) == 2 * (len(files) + (directory != "mathematical_reasoning"))


def close(one: Any, other: Any) -> bool:
    """Equal, but for the last bits of a float32 probability."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0, abs_tol=TORCH_SOFTMAX)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(close(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_files_agree_with_the_published_ones_on_any_logits(tmp_path: Path, directory: str) -> None:
    files = {stem: data_file(200, seed, exact=False) for seed, stem in enumerate(DIRECTORIES[directory])}
    published(files, directory, tmp_path / "published")
    export_official(ours(files, directory), tmp_path / "ours", NAME)
    theirs, mine = tree(tmp_path / "published"), tree(tmp_path / "ours")
    assert mine.keys() == theirs.keys()
    for path, content in theirs.items():
        if path.endswith(".json"):
            mine_read, theirs_read = json.loads(mine[path]), json.loads(content)
            assert close(mine_read, theirs_read)
            for one, other in zip(mine_read, theirs_read, strict=True):
                if isinstance(one, dict):  # what no softmax touched agrees to the bit
                    exact = ("q_id", "question", "answers", "success", "answers_avg_logits", "answers_ori_logits")
                    assert [one[name] for name in exact] == [other[name] for name in exact]
        else:
            # Rates to the letter; the mean probability as a number.
            (rate, mean), (their_rate, their_mean) = (line.decode().rsplit(" ", 1) for line in (mine[path], content))
            assert rate == their_rate
            assert float(mean) == pytest.approx(float(their_mean), abs=TORCH_SOFTMAX)


def test_the_mean_probability_is_the_summarys_sds(tmp_path: Path) -> None:
    files = {stem: data_file(50, seed, exact=False) for seed, stem in enumerate(DIRECTORIES["mathematical_reasoning"])}
    records = ours(files, "d")
    export_official(records, tmp_path, NAME)
    for task, entry in summarize(records, confidence=None).tasks.items():
        line = (tmp_path / "d" / f"{task}{SUFFIX}" / f"{NAME}.txt").read_text()
        assert float(line.split("Answer Prob: ")[1]) == pytest.approx(entry.sds, abs=1e-7)


def a_record(**changes: Any) -> Record:
    record = record_of(
        Scored(
            Sample("q", "task", "directory", "reasoning", (), ("a", "b", "c"), 0, {"question": "?", "index": 0}),
            tuple(Candidate((logit,), (-1.0,)) for logit in (1.0, 2.0, 2.0)),
        )
    )
    return replace(record, **changes)


def test_the_answer_comes_first_wherever_it_stood(tmp_path: Path) -> None:
    # It ties with the second candidate: first of the two in the exported order, so a success there.
    path, _ = export_official([a_record(answer=2)], tmp_path, NAME)
    (item,) = json.loads(path.read_text())
    assert item["answers"] == ["c", "a", "b"]
    assert item["answers_avg_logits"] == [2.0, 1.0, 2.0]
    assert item["answers_ori_logits"] == [[2.0], [1.0], [2.0]]
    assert item["answer_prob"] == pytest.approx(
        torch.softmax(torch.tensor([2.0, 1.0, 2.0]), 0).tolist(), abs=TORCH_SOFTMAX
    )
    assert item["success"] is True


def test_without_a_stem_the_task_names_the_file(tmp_path: Path) -> None:
    assert export_official([a_record()], tmp_path, NAME) == [
        tmp_path / "directory" / "task" / f"{NAME}.json",
        tmp_path / "directory" / "task" / f"{NAME}.txt",
    ]


def test_a_file_with_nothing_scored(tmp_path: Path) -> None:
    nothing = {"status": "unscored", "logits": (), "logprobs": (), "answer": None}
    records = [
        a_record(task="MMBench_a", answer=1),
        a_record(task="MMBench_b", **nothing),
        a_record(task="MMBench_b", id="r", metadata={}, **nothing),
    ]
    export_official(records, tmp_path, NAME)
    folder = tmp_path / "directory"
    assert (folder / "MMBench_b" / f"{NAME}.json").read_text() == "[]"
    assert (folder / "MMBench_b" / f"{NAME}.txt").read_text() == "Success Rate: 0/2:0.00%, Answer Prob: nan\n"
    total = json.loads((folder / "total" / f"{NAME}.json").read_text(), parse_constant=pytest.fail)
    probability = total["MMBench_a"]["avg_prob"]
    assert total["MMBench_b"] == {"accuracy": 0.0, "avg_prob": None}
    assert (folder / "total" / f"{NAME}.txt").read_text() == (
        f"Average Success Rate: 1.0/2:50.00%, Average Answer Prob: {probability}\n"
    )


def test_no_records_no_files(tmp_path: Path) -> None:
    assert export_official([], tmp_path, NAME) == []
    assert not list(tmp_path.iterdir())


def test_it_goes_through_the_journal_unchanged(tmp_path: Path) -> None:
    records = ours({"MMBench_x": data_file(40, 7, exact=False)}, "d")
    with Journal.open(tmp_path / "samples.jsonl") as journal:
        journal.append(records)
    export_official(read_records(tmp_path / "samples.jsonl"), tmp_path / "read", NAME)
    export_official(records, tmp_path / "direct", NAME)
    assert tree(tmp_path / "read") == tree(tmp_path / "direct")


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "../a", "/etc", "a\\b", "a\0b"])
@pytest.mark.parametrize("where", ["directory", "task", "stem", "name"])
def test_no_name_from_the_data_leads_elsewhere(tmp_path: Path, bad: str, where: str) -> None:
    record = a_record()
    if where == "stem":
        record = replace(record, metadata={**record.metadata, "stem": bad})
    elif where != "name":
        changes: dict[str, Any] = {where: bad}
        record = replace(record, **changes)
    out = tmp_path / "one" / "two"
    with pytest.raises(ResultsError, match="cannot name a folder or file"):
        export_official([a_record(id="good", task="good"), record], out, bad if where == "name" else NAME)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([a_record(metadata={"index": 0})], "'q' of task 'task'.*has no 'question'"),
        ([a_record(task="MMBench"), a_record(task="total")], "is called 'total'"),
        ([a_record(answer=None)], "scored without an answer"),
        ([a_record(task="n" * 300)], "cannot make the folder"),
        ([a_record(task="\ud800")], "cannot make the folder"),
    ],
)
def test_what_cannot_be_exported_is_one_clear_error(tmp_path: Path, records: list[Record], message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        export_official(records, tmp_path, NAME)


def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "directory").write_text("")
    with pytest.raises(ResultsError, match="cannot make the folder"):
        export_official([a_record()], tmp_path, NAME)


@pytest.mark.parametrize("protocol", [None, {}, {"name": "internvl"}, {"name": "qwen2vl", "min_pixels": 1}])
def test_a_manifest_that_does_not_say_the_name(protocol: object) -> None:
    manifest = Manifest(identity={"protocol": protocol}, configuration={})
    with pytest.raises(ResultsError, match=r"run\.json: its identity has no whole 'protocol'"):
        official_name(manifest)


@pytest.mark.parametrize(
    ("model", "protocol", "name"),
    [
        ("/ckpt/Qwen2-VL-7B", {"name": "qwen2vl", "min_pixels": 1, "max_pixels": 2}, "Qwen2-VL-7B_1~2"),
        ("/ckpt/InternVL", {"name": "internvl", "tiles": 6}, "InternVL_1536"),
        ("/ckpt/run/step-1", {"name": "plain"}, "run_step-1_729"),
        ("/ckpt/run/step-1", {"name": "chat"}, "step-1"),
        (None, {"name": "plain"}, "fake"),
    ],
)
def test_files_are_named_as_published(model: str | None, protocol: dict[str, object], name: str) -> None:
    assert official_name(Manifest(identity={"protocol": protocol}, configuration={"model": model})) == name
