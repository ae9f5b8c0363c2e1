"""From M3's data files to the published result files: types, prompts and odd records, against the scripts' lines."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from some_records import a_record

from radar_fast.readers import open_reader
from radar_fast.results.manifest import Manifest
from radar_fast.results.metrics import summarize
from radar_fast.results.official import export_official, writes_prompts
from radar_fast.results.record import Record, record_of
from radar_fast.sample import Candidate, Scored

SUFFIX = "_pretrained_mllm_eval"
FILES: dict[str, dict[str, dict[str, Any]]] = {
    f"mathematical_reasoning/MathVista_4{SUFFIX}": {
        "m1": {"question": "How many?", "answer": 3, "distraction": [4, "5", 6.5]},
        "m2": {"question": "How much?", "answer": "3", "distraction": ["4"]},
        "m3": {"question": "Sure?", "answer": True, "distraction": [False]},
        "m4": {"question": "Which one?", "answer": 7, "distraction": []},
    },
    f"general_visual_question_answering/MMBench_ocr_1{SUFFIX}": {
        "b1": {"question": "What is <image> here?", "answer": "a", "distraction": ["b"]},
    },
    f"physical_reasoning/SeePhys_2{SUFFIX}": {
        "s1--0": {"question": "Which?", "answer": "a", "distraction": ["b"], "img_num": 3},
        "s2": {"question": "Which?", "answer": "a", "distraction": [], "img_num": 1},
    },
    f"multiple_discipline_reasoning/MMMU_Pro_Art_2{SUFFIX}": {
        "p1": {"question": "Is <image 1> it?", "answer": "yes", "distraction": ["no"], "ori_options": "['yes', 'no']"},
        "p2": {
            "question": "Is it <image 1> or?",
            "answer": "<image 2>",
            "distraction": ["<image 3>"],
            "ori_options": "['<image 2>', '<image 3>']",
        },
    },
    f"Wiki_plant_identification/Wiki_plant_identification_1{SUFFIX}": {
        "w1": {"question": "Which plant?", "answer": "oak", "distraction": ["elm"]},
    },
}
UNSCORED = {"m4", "s2"}


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    for name, content in FILES.items():
        file = tmp_path / "data" / f"{name}.json"
        images = file.parent / "images" / ("ocr" if "MMBench" in name else "Art" if "MMMU" in name else "")
        images.mkdir(parents=True)
        file.write_text(json.dumps(content))
        for q_id in content:
            stem = q_id.split("--")[0]
            for image in (f"{stem}.jpg", *(f"{stem}_{number}.png" for number in range(3))):
                Image.new("RGB", (2, 2)).save(images / image)
            for number in (1, 2, 3):
                Image.new("RGB", (2, 2)).save(images / f"{q_id}_image_{number}.png")
    draw = random.Random(1)
    found = []
    for sample in open_reader(tmp_path / "data"):
        scores = tuple(Candidate((draw.gauss(0, 1),), (-1.0,)) for _ in sample.candidates)
        found.append(record_of(Scored(sample, () if sample.reason else scores)))
    return found


def exported(records: list[Record], folder: Path, **options: Any) -> dict[str, dict[str, Any]]:
    """q_id -> its published fields."""
    written = [path for path in export_official(records, folder, "name", **options) if path.suffix == ".json"]
    return {
        item["q_id"]: item for path in written if path.parent.name != "total" for item in json.loads(path.read_text())
    }


def published_prompt(file: str, item: dict[str, Any], letters: list[str]) -> str:
    """The LLaVA script's own lines, its coin thrown as the letters say."""
    if "MMMU_Pro" in file:
        question = re.sub(r"<image \d+>", "<image>", item["question"])
        if re.findall(r"<image \d+>", item["ori_options"]):
            options = (
                [item["answer"], *item["distraction"]]
                if letters == ["A", "B"]
                else [*item["distraction"], item["answer"]]
            )
            options = [
                f"{chr(ord('A') + i)}. {re.sub(r'<image [0-9]+>', '<image>', option)}"
                for i, option in enumerate(options)
            ]
            question = question + " " + " ".join(options) + " Please select the correct option: "
        return question
    if "MMBench" in file or "MathVista" in file:
        return f"<image>\n{item['question']}"
    if "SeePhys" in file:
        return " ".join(["<image>" * item["img_num"]]) + " " + str(item["question"])
    return "<image>" + " " + str(item["question"])


def test_answers_keep_their_types(records: list[Record], tmp_path: Path) -> None:
    found = exported(records, tmp_path / "out")
    for content in FILES.values():
        for q_id, item in content.items():
            answers = [item["answer"], *item["distraction"]]
            mine = found[q_id]["answers"]
            if "<image 2>" in answers:
                assert sorted(mine) == ["A", "B"]
            else:
                assert json.dumps(mine) == json.dumps(answers), "3 is not '3', nor 1.0, nor true"


def test_llavas_file_has_its_prompts(records: list[Record], tmp_path: Path) -> None:
    plain, raw = exported(records, tmp_path / "plain", prompts=True), exported(records, tmp_path / "raw")
    for file, content in FILES.items():
        for q_id, item in content.items():
            if q_id == "s2":
                continue  # its images are not known here: the sample was never made
            assert plain[q_id]["question"] == published_prompt(file, item, plain[q_id]["answers"])
            assert raw[q_id]["question"] == item["question"]
    assert len(plain) == sum(map(len, FILES.values()))


@pytest.mark.parametrize(("protocol", "prompts"), [("plain", True), ("qwen2vl", False), ("internvl", False)])
def test_only_llavas_script_writes_prompts(protocol: str, prompts: bool) -> None:
    assert writes_prompts(Manifest(identity={"protocol": {"name": protocol}}, configuration={})) is prompts


def test_an_answer_alone_counts_as_the_scripts_count_it(records: list[Record], tmp_path: Path) -> None:
    found = exported(records, tmp_path / "out")
    for q_id, answer in (("m4", 7), ("s2", "a")):
        assert (found[q_id]["answers"], found[q_id]["success"], found[q_id]["answer_prob"]) == ([answer], True, [1.0])
        assert found[q_id]["answers_avg_logits"] == found[q_id]["answers_ori_logits"] == [None]
    assert {record.id for record in records if record.status == "unscored"} == UNSCORED, "and here it stays unscored"
    task = summarize(records, confidence=None).tasks["MathVista_4"]
    text = (tmp_path / "out" / "mathematical_reasoning" / f"MathVista_4{SUFFIX}" / "name.txt").read_text()
    right = round((task.accuracy or 0) * 3) + 1
    assert text.startswith(f"Success Rate: {right}/4:{right / 4 * 100:.2f}%, Answer Prob: ")
    assert float(text.split("Prob: ")[1]) == pytest.approx(((task.sds or 0) * 3 + 1) / 4, abs=1e-6)


@pytest.mark.parametrize("metadata", [{"images": 10**9}, {"images": -1}, {"answers": "[" * 100_000}])
def test_a_journal_from_elsewhere_takes_no_memory(tmp_path: Path, metadata: dict[str, Any]) -> None:
    """What a record says of its images and answers was not checked by a reader of ours."""
    record = replace(a_record(), task="SeePhys_2", metadata={"question": "What?", "index": 0, **metadata})
    [item] = exported([record], tmp_path / "out", prompts=True).values()
    assert len(item["question"]) < 100
    assert item["answers"] == list(record.candidates)
