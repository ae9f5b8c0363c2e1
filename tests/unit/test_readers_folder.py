"""The folder-per-class reader: every image with all classes as candidates, and the class texts from a TOML file."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_data import TOML
from published_data import write_classes as make

from radar_fast.errors import DataError, UsageError
from radar_fast.readers.folder import EXAMPLES, ClassTexts, FolderReader, find_files
from radar_fast.sample import ImageFile, ReasonKind, Sample


def read(data: Path, **options: Any) -> list[Sample]:
    return list(FolderReader.open(data, **options))


def test_every_image_of_every_split(tmp_path: Path) -> None:
    data = make(
        tmp_path / "bones",
        *("train/none/1.png", "test/arm/2.JPG", "test/none/3.tiff", "test/none/1.jpeg", "test/a leg/é.bmp"),
        *("test/none/notes.txt", "test/none/.hidden.png", "docs/figure.png", "top.png"),
    )
    samples = read(data)
    assert [(sample.task, sample.id) for sample in samples] == [
        ("bones_test", "a leg/é.bmp"),
        ("bones_test", "arm/2.JPG"),
        ("bones_test", "none/1.jpeg"),
        ("bones_test", "none/3.tiff"),
        ("bones_train", "none/1.png"),
    ]
    for sample, answer in zip(samples, (2, 1, 0, 0, 0), strict=True):
        assert sample.reason is None
        assert (sample.directory, sample.ability, sample.ordered) == ("bones", "seeing", True)
        assert (sample.candidates, sample.answer) == (("nothing", "an arm", "a leg"), answer)
        image, question = sample.parts
        assert isinstance(image, ImageFile)
        assert image.path == data / str(sample.metadata["file"])
        assert question == "What is broken?"
    assert samples[0].metadata == {
        "question": "What is broken?",
        "file": "test/a leg/é.bmp",
        "class": "a leg",
        "graded": 3,
        "split_at": 1,
    }


def test_classes_without_splits(tmp_path: Path) -> None:
    data = make(tmp_path / "bones", "none/1.png", "arm/1.png", toml=TOML.replace("graded = true\nsplit_at = 1", ""))
    samples = read(data)
    assert [(sample.task, sample.id) for sample in samples] == [("bones", "arm/1.png"), ("bones", "none/1.png")]
    assert "graded" not in samples[0].metadata


def test_what_would_be_dropped_is_unscored(tmp_path: Path) -> None:
    data = make(tmp_path / "bones", "test/none/1.png", "test/foot/2.png", "test/arm/patient/3.png")
    found = {sample.id: sample for sample in read(data)}
    assert set(found) == {"none/1.png", "foot/2.png", "arm/patient"}
    for name, word in (("foot/2.png", "no class"), ("arm/patient", "a folder within a class")):
        reason = found[name].reason
        assert reason is not None
        assert (reason.kind, found[name].parts, found[name].candidates) == (ReasonKind.BAD_RECORD, (), ())
        assert word in reason.detail
        assert f"test/{name}" in reason.detail


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    data = make(tmp_path / "bones", "none/1.png")
    try:
        (data / "none" / os.fsdecode(b"\xff.png")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    good, bad = read(data)
    assert (good.reason, bad.reason is not None) == (None, True)
    assert bad.id.encode(), "an id that can be printed and written"
    assert "UTF-8" in str(bad.reason)


def test_symlinks_that_lead_out(tmp_path: Path) -> None:
    data = make(tmp_path / "bones", "none/1.png")
    (tmp_path / "elsewhere.png").touch()
    (data / "none" / "2.png").symlink_to(tmp_path / "elsewhere.png")
    kinds = [sample.reason and sample.reason.kind for sample in read(data)]
    assert kinds == [None, ReasonKind.PATH_OUTSIDE_DATA]
    assert all(sample.reason is None for sample in read(data, follow_symlinks=True))


def test_class_texts_of_the_user_and_those_that_come_along(tmp_path: Path) -> None:
    data = make(tmp_path / "bones", "none/1.png", toml=None)
    assert find_files(data) == []
    (tmp_path / "mine.toml").write_text(TOML)
    [sample] = read(data, classes=str(tmp_path / "mine.toml"))
    assert sample.candidates[0] == "nothing"
    with pytest.raises(UsageError, match=r"classes\.toml.*kellgren-lawrence"):
        read(data)
    with pytest.raises(UsageError, match=r"--classes no\.toml.*kellgren-lawrence"):
        read(data, classes="no.toml")


def test_kellgren_lawrence_as_published(tmp_path: Path) -> None:
    assert "kellgren-lawrence" in EXAMPLES
    data = make(
        tmp_path / "knees", *(f"{split}/{grade}/9{grade}L.png" for split in ("val", "test") for grade in range(5))
    )
    samples = read(data, classes="kellgren-lawrence")
    assert [sample.task for sample in samples] == ["knees_test"] * 5 + ["knees_val"] * 5
    assert [sample.answer for sample in samples] == [0, 1, 2, 3, 4] * 2
    [question] = {str(sample.parts[1]) for sample in samples}
    # The target sentence of LLaVA-OA, to the letter, with the joiner between question and candidate.
    assert f"{question} {samples[3].candidates[3]}" == (
        "The most likely Kellgren-Lawrence grade of this knee X-ray image is Grade 3: Moderate osteoarthritis, "
        "Multiple osteophytes, definite narrowing of joint space, some sclerosis, and possible deformity of bone ends."
    )
    assert {sample.metadata["split_at"] for sample in samples} == {2}
    assert FolderReader.open(data, classes="kellgren-lawrence").files[0].is_file()


@pytest.mark.parametrize("example", EXAMPLES)
def test_all_that_comes_along_is_readable(example: str) -> None:
    file = Path(__file__).parents[2] / "radar_fast" / "readers" / "examples" / f"{example}.toml"
    assert ClassTexts.read(file).classes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("question =", "query ="), ["'query'", "question"]),
        (('question = "What is broken?"', ""), ["question", "missing"]),
        (('question = "What is broken?"', 'question = " "'), ["question"]),
        (('ability = "seeing"', "ability = 3"), ["ability", "3"]),
        (("graded = true", "graded = 1"), ["graded", "true or false"]),
        (("graded = true", "graded = false"), ["split_at", "graded = true"]),
        (("split_at = 1", "split_at = 3"), ["split_at", "1 to 2"]),
        (("split_at = 1", "split_at = 0"), ["split_at", "1 to 2"]),
        (("split_at = 1", "split_at = true"), ["split_at"]),
        (('none = "nothing"', 'none = ""'), ["'none'"]),
        (('none = "nothing"', "none = 3"), ["'none'"]),
        (('none = "nothing"', 'none = "an arm"'), ["'none'", "'arm'", "same text"]),
        (('none = "nothing"', '"../x" = "nothing"'), ["'../x'"]),
        (('arm = "an arm"\n"a leg" = "a leg"', ""), ["classes", "two or more"]),
        (("[classes]", "[classes"), ["not TOML"]),
    ],
)
def test_wrong_class_texts(tmp_path: Path, change: tuple[str, str], words: list[str]) -> None:
    assert change[0] in TOML
    data = make(tmp_path / "bones", "none/1.png", toml=TOML.replace(*change))
    with pytest.raises(DataError) as caught:
        read(data)
    for word in (*words, str(data / "classes.toml")):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_class_folder_at_all(tmp_path: Path) -> None:
    data = make(tmp_path / "bones", "one/two/none/1.png")
    with pytest.raises(DataError, match="no folder of a class"):
        read(data)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=80) | st.text(st.sampled_from('[]="classes\n.01true '), max_size=60) | st.binary(max_size=30))
def test_any_class_texts_are_read_or_refused_on_one_line(tmp_path: Path, content: str | bytes) -> None:
    data = make(tmp_path / "bones", "none/1.png")
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    (data / "classes.toml").write_bytes(raw)
    message = ""
    try:
        ClassTexts.read(data / "classes.toml")
    except DataError as error:
        message = str(error)
    assert "\n" not in message
