"""The command line as users meet it: its output, its exit status, the files it leaves; a process where that counts."""

import json
import os
import pty
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench_data import write_jsonl, write_m3
from command_line import Result, run_cli
from PIL import Image
from processes import uncovered
from puzzles import PUZZLES

from radar_fast.sample import ReasonKind

Run = Result
radar = run_cli


def in_a_process(*arguments: object, **options: Any) -> Run:
    command = [sys.executable, "-m", "radar_fast", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)
    return Run(result.returncode, result.stdout, result.stderr)


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


def summary_of(out: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return summary


def refused(result: Run, *words: str, status: int = 2) -> None:
    """The exit status, one line on standard error that holds the words, no traceback."""
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


# What a good run gives -----------------------------------------------------------------------------------------------


def test_score_with_the_fake_engine(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data")
    result = radar("score", "--engine", "fake", "--data", data, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "20 samples in 1 tasks" in result.stdout
    assert "colours" in result.stdout
    assert "\x1b" not in result.stdout, "no terminal, no escape codes"
    lines = lines_of(tmp_path / "out")
    assert [line["id"] for line in lines] == [f"q{index}" for index in range(20)]
    for line in lines:
        assert line["task"] == "colours"
        assert line["status"] == "scored"
        assert line["reason"] is None
        assert len(line["logits"]) == len(line["logprobs"]) == len(line["candidates"])
        assert 0 <= line["sds"] <= 1
        assert isinstance(line["correct"], bool)
        assert line["candidates"][line["answer"]] in ("red", "dark blue")
    summary = summary_of(tmp_path / "out")
    for section in ("tasks", "directories", "abilities"):
        for entry in summary[section].values():
            assert {"sds", "accuracy", "scored", "unscored"} <= set(entry)
    assert summary["overall"]["scored"] == 20
    assert {"tokens_computed", "tokens_minimal", "seconds", "samples_per_second"} <= set(summary["engine"])
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert {"configuration", "identity", "versions", "machine"} <= set(run)


@pytest.mark.parametrize("puzzles", PUZZLES)
def test_the_contracts_field_options_read_puzzlevqa(puzzles: Path, tmp_path: Path) -> None:
    fields = [word for name in ("question", "image", "options", "answer") for word in ("--field", f"{name}={name}")]
    result = radar("score", "--engine", "fake", "--data", puzzles, "--out", tmp_path, *fields, "--format", "jsonl")
    assert result.returncode == 0, result.stderr
    lines = lines_of(tmp_path)
    count = sum(len(file.read_text().splitlines()) for file in puzzles.glob("*.json"))
    assert len(lines) == len({(line["task"], line["id"]) for line in lines}) == count
    [venn] = [line for line in lines if line["id"] == "venn.json:1"]
    assert venn["candidates"][venn["answer"]] == "1"


def test_tasks_limit_and_ability(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data")
    shutil.copy(data / "colours.jsonl", data / "shapes.jsonl")
    options = ["--tasks", "col*", "--limit", 3, "--ability", "colours=seeing"]
    result = radar("score", "--engine", "fake", "--data", data, "--out", tmp_path / "out", *options)
    assert result.returncode == 0, result.stderr
    summary = summary_of(tmp_path / "out")
    assert list(summary["tasks"]) == ["colours"]
    assert summary["abilities"]["seeing"]["scored"] == 3


def test_summarize_recomputes_from_the_journal(tmp_path: Path) -> None:
    data, out = write_jsonl(tmp_path / "data"), tmp_path / "out"
    scored = radar("score", "--engine", "fake", "--data", data, "--out", out)
    before = (out / "summary.json").read_bytes()
    (out / "summary.json").unlink()
    result = radar("summarize", out, "--official-out", tmp_path / "official")
    assert result.returncode == 0, result.stderr
    assert (out / "summary.json").read_bytes() == before
    assert [line for line in result.stdout.splitlines() if line.startswith("colours")] == [
        line for line in scored.stdout.splitlines() if line.startswith("colours")
    ]
    written = sorted(path.relative_to(tmp_path / "official").as_posix() for path in tmp_path.glob("official/*/*/*"))
    assert written == [f"data/colours/fake_200704~602112.{ending}" for ending in ("json", "txt")]


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", count=100)
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "radar_fast", "score", "--engine", "fake", "--data", str(data)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")], stdout=follower, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        seen = b""
        while True:
            try:
                seen += os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
    os.close(leader)
    assert process.returncode == 0
    assert b"samples/s" in seen
    assert b"100/100" in seen
    assert b"\x1b[" in seen


def test_help_and_version_need_no_torch() -> None:
    code = "import sys; from radar_fast.cli import main; main(['score', '--help'], standalone_mode=False); "
    code += "assert not {'torch', 'transformers', 'vllm'} & set(sys.modules), 'heavy imports'"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "--official-out" in result.stdout


# Exit statuses -------------------------------------------------------------------------------------------------------


def test_an_unscored_sample_makes_it_exit_1_and_is_counted(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", image="gone.png")
    result = radar("score", "--engine", "fake", "--data", data, "--out", tmp_path / "out")
    assert result.returncode == 1
    assert "unscored: 1 missing-image" in result.stdout
    [unscored] = [line for line in lines_of(tmp_path / "out") if line["status"] == "unscored"]
    assert unscored["reason_kind"] == "missing-image"
    assert "gone.png" in unscored["reason"]
    assert unscored["sds"] is None
    assert (
        summary_of(tmp_path / "out")["tasks"]["colours"] | {"scored": 19, "unscored": 1}
        == (summary_of(tmp_path / "out")["tasks"]["colours"])
    )


def test_the_twelve_image_rule_leaves_it_at_0(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    record = {"question": "Same?", "answer": "yes", "distraction": ["no"]}
    records = {"1--0": {**record, "img_num": 1}, "2--0": {**record, "img_num": 13}}
    write_m3(folder, records, "physical_reasoning", "SeePhys_2_pretrained_mllm_eval.json")
    Image.new("RGB", (30, 30)).save(folder / "physical_reasoning" / "images" / "1_0.png")
    result = radar("score", "--engine", "fake", "--data", folder, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "unscored: 1 too-many-images" in result.stdout
    assert len(lines_of(tmp_path / "out")) == 2


def test_inspect_finds_every_problem_before_a_gpu_is_spent(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", answer="purple")
    (data / "3.png").write_bytes((data / "3.png").read_bytes()[:-40])
    (data / "4.png").unlink()
    result = radar("inspect", data)
    assert result.returncode == 1
    assert "20 samples" in result.stdout
    assert "3 problems" in result.stdout
    for words in ("colours, q0: ambiguous-answer", "colours, q3: unreadable-image", "colours, q4: missing-image"):
        assert words in result.stdout
    assert radar("inspect", write_jsonl(tmp_path / "good")).returncode == 0


# Conditions and comparison -------------------------------------------------------------------------------------------


def test_conditions_are_runs_of_their_own_and_compare_sets_them_side_by_side(tmp_path: Path) -> None:
    data, base = write_jsonl(tmp_path / "data"), ["score", "--engine", "fake", "--data", tmp_path / "data"]
    assert radar(*base, "--out", tmp_path / "full").returncode == 0
    plain = json.loads((tmp_path / "full" / "run.json").read_text())
    assert "conditions" not in plain["identity"], "result folders of before there were conditions stay valid"
    refused(radar(*base, "--out", tmp_path / "full", "--without", "image"), "--without was not given, is image")

    (data / "0.png").unlink()  # blind, nobody looks at it
    blind = radar(*base, "--out", tmp_path / "blind", "--without", "image")
    assert blind.returncode == 0, blind.stderr
    assert [line["candidates"] for line in lines_of(tmp_path / "blind")] == [
        line["candidates"] for line in lines_of(tmp_path / "full")
    ]
    letters = radar(*base, "--out", tmp_path / "letters", "--candidates", "letter", "--limit", 9)
    assert letters.returncode == 1, "one image is gone"
    assert {tuple(line["candidates"]) for line in lines_of(tmp_path / "letters")} == {
        tuple("ABCD"[:n]) for n in (2, 3, 4)
    }
    assert json.loads((tmp_path / "letters" / "run.json").read_text())["identity"]["conditions"] == {
        "candidates": "letter"
    }

    compared = radar("compare", tmp_path / "full", tmp_path / "letters", "--json", tmp_path / "gap.json")
    assert compared.returncode == 0, compared.stderr
    assert "differs: --candidates was not given, is letter" in compared.stdout
    assert "8 samples scored in both, 12 only in A, 0 only in B" in compared.stdout
    gap = json.loads((tmp_path / "gap.json").read_text())
    full, other = ({line["id"]: line["sds"] for line in lines_of(tmp_path / name)} for name in ("full", "letters"))
    differences = [other[name] - full[name] for name in other if other[name] is not None]
    assert gap["tasks"]["colours"]["sds"] == pytest.approx(sum(differences) / len(differences))
    assert gap["overall"]["sds_low"] <= gap["overall"]["sds"] <= gap["overall"]["sds_high"]
    [row] = [line for line in compared.stdout.splitlines() if line.startswith("colours")]
    assert f"{gap['tasks']['colours']['sds']:+.4f}" in row


def test_compare_refuses_what_cannot_be_compared(tmp_path: Path) -> None:
    for name, tasks in (("one", "colours"), ("two", "shapes")):
        data = write_jsonl(tmp_path / name, count=4)
        (data / "colours.jsonl").rename(data / f"{tasks}.jsonl")
        assert radar("score", "--engine", "fake", "--data", data, "--out", tmp_path / f"out-{name}").returncode == 0
    one, two = tmp_path / "out-one", tmp_path / "out-two"
    refused(radar("compare", one, two), "no sample is scored in both")
    refused(radar("compare", one, tmp_path), "run.json")
    refused(radar("compare", one, two, "--pair", "colours"), "--pair colours", "NAME=VALUE")
    refused(radar("compare", one, two, "--pair", "colours=none"), "no task 'none'")
    paired = radar("compare", one, two, "--pair", "colours=shapes")
    assert paired.returncode == 0, paired.stderr
    assert "colours -> shapes" in paired.stdout
    assert "4 samples scored in both" in paired.stdout


def test_a_folder_a_class_with_grades(tmp_path: Path) -> None:
    data, out = tmp_path / "knees", tmp_path / "out"
    for grade in range(5):
        for number in range(2):
            image = data / "test" / str(grade) / f"{number}L.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (30, 30), (grade, number, 0)).save(image)
    command = ["--classes", "kellgren-lawrence"]
    assert radar("inspect", data, *command).returncode == 0
    result = radar("score", "--engine", "fake", "--data", data, "--out", out, *command)
    assert result.returncode == 0, result.stderr
    entry = summary_of(out)["tasks"]["knees_test"]
    # The fake engine sees no image, so it prefers the same grade everywhere.
    errors = {grade: sum(abs(grade - other) for other in range(5)) / 5 for grade in range(5)}
    assert entry["graded"]["mean_absolute_error"] in errors.values()
    assert entry["graded"]["split_at"] == 2
    assert sorted(entry["classes"]["accuracy"].values()) == [0, 0, 0, 0, 1]
    for words in ("knees_test: mean over classes", "mean abs. error"):
        assert words in result.stdout
    refused(radar("score", "--engine", "fake", "--data", data, "--out", out), "folder")


# Wrong input and usage -----------------------------------------------------------------------------------------------


def test_no_such_data_folder(tmp_path: Path) -> None:
    refused(radar("score", "--engine", "fake", "--data", tmp_path / "no", "--out", tmp_path / "o"), "no", "no such")
    refused(radar("inspect", tmp_path / "no"), "no such")
    refused(radar("summarize", tmp_path / "no"), "run.json")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(radar("score", "--engine", "fake", "--data", tmp_path / "empty", "--out", tmp_path / "o"), "empty")
    refused(radar("inspect", tmp_path / "empty"), "empty")


@pytest.mark.parametrize("content", ["not JSON", '{"1": {"question": "?", "answer": "a", "distraction": ["b"]}', "[]"])
def test_a_file_that_is_no_json(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "data" / "mathematical_reasoning"
    folder.mkdir(parents=True)
    (folder / "MathVista_1_pretrained_mllm_eval.json").write_text(content)
    refused(radar("score", "--engine", "fake", "--data", tmp_path / "data", "--out", tmp_path / "o"), "MathVista_1")
    assert not (tmp_path / "o").exists(), "nothing is claimed before the data are known to be readable"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "auto"], ["--model"]),
        (["--engine", "warp", "--model", "."], ["--engine warp", "transformers"]),
        (["--engine", "fake", "--limit", "0"], ["--limit"]),
        (["--engine", "fake", "--field", "question"], ["--field question", "NAME=VALUE"]),
        (["--engine", "fake", "--field", "questions=q"], ["'questions'", "question"]),
        (["--engine", "fake", "--field", "answer=a", "--field", "answer_index=b"], ["answer_index"]),
        (["--engine", "fake", "--format", "xml"], ["--format xml", "jsonl"]),
        (["--engine", "fake", "--protocol", "mars"], ["--protocol mars", "qwen2vl"]),
        (["--engine", "fake", "--min-pixels", "9", "--max-pixels", "3"], ["--min-pixels"]),
        (["--engine", "fake", "--tasks", "no*such"], ["--tasks"]),
        (["--engine", "fake", "--candidates", "number"], ["--candidates number", "letter"]),
        (["--engine", "fake", "--without", "words"], ["--without words", "image"]),
        (["--engine", "fake", "--classes", "none.toml"], ["--classes none.toml", "kellgren-lawrence"]),
        (["--engine", "transformers", "--model", "nowhere"], ["nowhere", "checkpoint"]),
    ],
)
def test_wrong_options(tmp_path: Path, options: list[str], words: list[str]) -> None:
    data = write_jsonl(tmp_path / "data")
    refused(radar("score", "--data", data, "--out", tmp_path / "out", *options), *words)


def test_click_says_what_is_missing(tmp_path: Path) -> None:
    result = radar("score", "--engine", "fake", "--out", tmp_path)
    assert result.returncode == 2
    assert "--data" in result.stderr
    assert "Traceback" not in result.stderr


def edited(checkpoint: Path, folder: Path, **changes: object) -> Path:
    """A copy of a checkpoint with another config.json."""
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_checkpoints_that_cannot_be_scored(qwen2vl: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", count=2)

    def score(model: Path, *options: str) -> Run:
        return radar("score", "--model", model, "--data", data, "--out", tmp_path / "out", "--device", "cpu", *options)

    empty = tmp_path / "empty"
    empty.mkdir()
    refused(score(empty), "no config.json", str(empty))

    broken = edited(qwen2vl, tmp_path / "broken")
    (broken / "config.json").write_text("{")
    refused(score(broken), "config.json", "cannot be read")

    text = edited(qwen2vl, tmp_path / "text", model_type="llama", architectures=["L"])
    refused(score(text), "llama", "image-text-to-text")

    unknown = edited(qwen2vl, tmp_path / "unknown", model_type="marsvl")
    refused(score(unknown), "marsvl", "not supported")

    code = {"AutoConfig": "code.MarsConfig", "AutoModel": "code.Mars"}
    remote = edited(qwen2vl, tmp_path / "remote", model_type="marsvl", auto_map=code)
    (remote / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    refused(score(remote), "--trust-remote-code")
    assert not (tmp_path / "ran").exists(), "code in the checkpoint has run without leave"

    hollow = edited(qwen2vl, tmp_path / "hollow")
    (hollow / "model.safetensors").unlink()
    refused(score(hollow), "cannot be loaded")

    short = edited(qwen2vl, tmp_path / "short")
    from safetensors.torch import load_file, save_file

    weights = load_file(short / "model.safetensors")
    weights.pop("lm_head.weight")
    save_file(weights, short / "model.safetensors", {"format": "pt"})
    refused(score(short), "weights are missing", "lm_head.weight")

    cut = edited(qwen2vl, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((qwen2vl / "model.safetensors").read_bytes()[:5000])
    refused(score(cut), "incomplete; still being written?", status=75)


# The result folder ---------------------------------------------------------------------------------------------------


def test_results_of_another_configuration_are_refused_with_what_differs(tmp_path: Path) -> None:
    data, out = write_jsonl(tmp_path / "data"), tmp_path / "out"
    base = ["score", "--engine", "fake", "--data", data, "--out", out]
    assert radar(*base).returncode == 0
    refused(radar(*base, "--min-pixels", 3136), "--min-pixels was 200704, is 3136")
    refused(radar(*base, "--limit", 3), "--limit was not given, is 3")
    write_jsonl(data, answer="green")
    refused(radar(*base), "--data: the data are not what they were: 20 samples, now others")
    assert len(lines_of(out)) == 20


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "samples.jsonl").write_text("mine\n")
    refused(radar("score", "--engine", "fake", "--data", data, "--out", tmp_path / "out"), "samples.jsonl")
    assert (tmp_path / "out" / "samples.jsonl").read_text() == "mine\n"
    (tmp_path / "file").write_text("mine")
    refused(radar("score", "--engine", "fake", "--data", data, "--out", tmp_path / "file"), "file")
    refused(radar("score", "--engine", "fake", "--data", data, "--out", data), "--out")


def untimed(summary: Path) -> dict[str, Any]:
    """All but the seconds that the run took."""
    read = json.loads(summary.read_text())
    engine = {name: value for name, value in read["engine"].items() if not name.endswith("_seconds")}
    return {**read, "engine": engine}


def test_a_torn_last_line_is_repaired_and_a_finished_run_does_nothing(tmp_path: Path) -> None:
    data, out = write_jsonl(tmp_path / "data"), tmp_path / "out"
    base = ["score", "--engine", "fake", "--data", data, "--out", out]
    assert radar(*base).returncode == 0
    whole, summary = (out / "samples.jsonl").read_bytes(), untimed(out / "summary.json")
    (out / "samples.jsonl").write_bytes(whole[:-30])
    result = radar(*base)
    assert result.returncode == 0, result.stderr
    assert "torn end" in result.stdout
    assert "19 samples are scored already" in result.stdout
    assert (out / "samples.jsonl").read_bytes() == whole
    assert untimed(out / "summary.json") == summary
    again = radar(*base)
    assert again.returncode == 0
    assert "engine fake" not in again.stdout, "nothing is left to score, so no engine is opened"
    assert (out / "samples.jsonl").read_bytes() == whole


def test_a_full_disk_ends_in_one_line_and_the_run_resumes(tmp_path: Path) -> None:
    """A real refusal of the kernel, in the middle of a line: no file of the process may grow past 6000 bytes."""
    data, out = write_jsonl(tmp_path / "data"), tmp_path / "out"
    base = ["score", "--engine", "fake", "--data", data, "--out", out]
    limit = 6000
    full = in_a_process(
        *base, env=uncovered(), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    refused(full, "samples.jsonl", "the same command goes on from there")
    kept = lines_of(out)
    assert 0 < len(kept) < 20, "every line that is there is whole"
    assert radar(*base).returncode == 0
    assert [line["id"] for line in lines_of(out)] == [f"q{index}" for index in range(20)]


def test_two_at_once(tmp_path: Path) -> None:
    import fcntl

    data, out = write_jsonl(tmp_path / "data"), tmp_path / "out"
    base = ["score", "--engine", "fake", "--data", data, "--out", out]
    assert radar(*base).returncode == 0
    with (out / "samples.jsonl").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert radar(*base).returncode == 0, "nothing is left to write"
        file.truncate(file.tell() // 2)
        refused(radar(*base), "another process", status=75)


# Bad records and images, through the real engine ---------------------------------------------------------------------


def huge_png(path: Path) -> None:
    """A valid PNG of 50,000 x 50,000 pixels in 300 KB: one row, compressed again and again."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    row = b"\0" * 6251  # 1 bit a pixel, and the filter byte
    body = b"".join(packer.compress(row) for _ in range(50_000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def test_every_bad_record_is_unscored_with_a_reason_and_the_rest_is_scored(qwen2vl: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", count=3)
    good = {"image": "1.png", "question": "What colour?", "options": ["red", "blue"], "answer": "red"}
    huge_png(data / "huge.png")
    (data / "empty.png").touch()
    (data / "text.png").write_text("no image")
    (data / "cut.png").write_bytes((data / "1.png").read_bytes()[:-40])
    Image.new("RGB", (20, 20)).save(tmp_path / "outside.png")
    (data / "link.png").symlink_to(tmp_path / "outside.png")
    bad: list[tuple[dict[str, object], ReasonKind]] = [
        ({"question": ...}, ReasonKind.BAD_RECORD),
        ({"question": "  "}, ReasonKind.BAD_RECORD),
        ({"answer": ...}, ReasonKind.BAD_RECORD),
        ({"options": ...}, ReasonKind.NO_DISTRACTOR),
        ({"options": ["red"]}, ReasonKind.NO_DISTRACTOR),
        ({"options": ["red", "red"]}, ReasonKind.AMBIGUOUS_ANSWER),
        ({"answer": "green"}, ReasonKind.AMBIGUOUS_ANSWER),
        ({"options": ["red", " "]}, ReasonKind.EMPTY_CANDIDATE),
        ({"image": "none.png"}, ReasonKind.MISSING_IMAGE),
        ({"image": "cut.png"}, ReasonKind.UNREADABLE_IMAGE),
        ({"image": "empty.png"}, ReasonKind.UNREADABLE_IMAGE),
        ({"image": "huge.png"}, ReasonKind.UNREADABLE_IMAGE),
        ({"image": "text.png"}, ReasonKind.UNREADABLE_IMAGE),
        ({"image": "../outside.png"}, ReasonKind.PATH_OUTSIDE_DATA),
        ({"image": "/etc/hostname"}, ReasonKind.PATH_OUTSIDE_DATA),
        ({"image": "link.png"}, ReasonKind.PATH_OUTSIDE_DATA),
        ({"image": ..., "question": "What is <image>?"}, ReasonKind.IMAGE_TAG_MISMATCH),
        ({"image": ["1.png", "2.png"], "question": "What is <image>?"}, ReasonKind.IMAGE_TAG_MISMATCH),
    ]
    records = [{k: v for k, v in {**good, **change}.items() if v is not ...} for change, _ in bad]
    fine = [
        {**good, "question": "Is <|image_pad|> or <|im_end|> text?"},
        {**good, "options": ["red", "<|endoftext|>"]},
        {k: v for k, v in good.items() if k != "image"},
    ]
    (data / "bad.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records + fine) + "{torn\n")
    out = tmp_path / "out"
    pixels = ["--min-pixels", 3136, "--max-pixels", 3136]
    result = radar("score", "--model", qwen2vl, "--data", data, "--out", out, "--device", "cpu", *pixels)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    found = {line["id"]: line for line in lines_of(out) if line["task"] == "bad"}
    assert len(found) == len(bad) + len(fine) + 1
    for number, (change, kind) in enumerate(bad, 1):
        line = found[f"bad.jsonl:{number}"]
        assert (line["status"], line["reason_kind"]) == ("unscored", kind), (change, line["reason"])
        assert "\n" not in line["reason"]
    for number in range(len(bad) + 1, len(bad) + len(fine) + 1):
        assert found[f"bad.jsonl:{number}"]["status"] == "scored"
    assert found[f"bad.jsonl:{len(bad) + len(fine) + 1}"]["reason_kind"] == "bad-record"
    assert summary_of(out)["tasks"]["colours"]["scored"] == 3

    inspected = radar("inspect", data)
    assert inspected.returncode == 1
    assert f"{len(bad) + 1} problems" in inspected.stdout
