"""The same question asked in another way: letters for options, and nothing but the image or nothing but the text."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from plain import TAG, PlainLoop, Question

from radar_fast.conditions import Conditions
from radar_fast.engines import EngineOptions, open_engine
from radar_fast.errors import UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol
from radar_fast.sample import ImageFile, Reason, ReasonKind, Sample

ONE, TWO = ImageFile(Path("/data/1.png")), ImageFile(Path("/data/2.png"))
ENDING = "Please select the correct answer from the options above. \n"


def sample(*parts: Any, **changes: Any) -> Sample:
    made = Sample("q1", "t", "d", "a", parts or (ONE, "What is it?"), ("a cat", "a dog", "a cow"), 1, ordered=True)
    return replace(made, **changes)


def lettered(given: Sample) -> Sample:
    return Conditions(candidates="letter").one(given)


# Letters


def test_a_hint_stands_before_the_question_after_the_images() -> None:
    asked = Conditions().one(sample(ONE, "Which ", TWO, "?", metadata={"hint": "It barks."}))
    assert asked.parts == (ONE, "Hint: It barks.\nWhich ", TWO, "?")
    assert Conditions().one(sample("What is it?", metadata={"hint": " "})).parts == ("What is it?",)


def test_the_default_layout_of_vlmevalkit() -> None:
    # Written by hand from vlmeval/dataset/image_mcq.py, build_prompt.
    found = lettered(sample(metadata={"hint": "It barks.", "question": "What is it?"}))
    assert found.parts == (
        ONE,
        "Hint: It barks.\nQuestion: What is it?\nOptions:\nA. a cat\nB. a dog\nC. a cow\n" + ENDING,
    )
    assert (found.candidates, found.answer) == (("A", "B", "C"), 1)
    assert (found.id, found.task, found.metadata["question"]) == ("q1", "t", "What is it?")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((ONE, TWO, "Which?"), (ONE, TWO, "Question: Which?\nOptions:\n...")),
        (("See ", ONE, ". Which?"), ("Question: See ", ONE, ". Which?\nOptions:\n...")),
        ((ONE, "is like", TWO), (ONE, "Question: is like", TWO, "\nOptions:\n...")),
        ((ONE,), (ONE, "Options:\n...")),
    ],
)
def test_where_images_stand(parts: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    found = lettered(sample(*parts)).parts
    options = "A. a cat\nB. a dog\nC. a cow\n" + ENDING
    assert found == tuple(part.replace("...", options) if isinstance(part, str) else part for part in expected)


def test_options_without_an_order_are_shuffled_by_id_and_do_not_tell_the_answer() -> None:
    places: Counter[int] = Counter()
    for number in range(400):
        given = sample(id=f"q{number}", answer=0, ordered=False)  # answer first, as M3-Bench is read
        found = lettered(given)
        listed = str(found.parts[1]).split("Options:\n")[1].splitlines()[:3]
        assert listed[found.answer] == f"{'ABC'[found.answer]}. a cat", "the letter is that of the answer's line"
        assert {line[3:] for line in listed} == set(given.candidates)
        assert found == lettered(given), "the same in every run"
        places[found.answer] += 1
    assert all(100 < count < 170 for count in places.values())
    assert len(places) == 3


@pytest.mark.parametrize("candidates", [("A", "B"), ("B", "A"), ("C", "A", "B")])
def test_what_is_letters_already_stays(candidates: tuple[str, ...]) -> None:
    given = sample(candidates=candidates, answer=0)
    assert lettered(given) is given


def test_too_many_options_for_letters() -> None:
    found = lettered(sample(candidates=tuple(f"option {number}" for number in range(27))))
    assert found.reason is not None
    assert (found.reason.kind, found.candidates) == (ReasonKind.BAD_RECORD, ())
    assert "27" in found.reason.detail
    assert lettered(sample(candidates=tuple(f"option {number}" for number in range(26)))).candidates[25] == "Z"


# Without the image, without the text


def test_without_image_the_text_is_joined() -> None:
    blind = Conditions(without="image")
    assert blind.one(sample()).parts == ("What is it?",)
    assert blind.one(sample("See ", ONE, ". Which?")).parts == ("See . Which?",)
    assert blind.one(sample("No picture at all?")).parts == ("No picture at all?",)
    assert blind.one(sample()).candidates == sample().candidates


def test_without_text_the_images_stay() -> None:
    mute = Conditions(without="text")
    found = mute.one(sample("See ", ONE, ". And ", TWO, metadata={"hint": "It barks.", "question": "?"}))
    assert found.parts == (ONE, TWO)
    assert found.metadata == {"question": "?"}, "a hint is text"
    assert (found.candidates, found.answer) == (("a cat", "a dog", "a cow"), 1)


@pytest.mark.parametrize(("without", "parts"), [("image", (ONE, " ")), ("image", (ONE,)), ("text", ("What?",))])
def test_nothing_left_is_a_reason(without: str, parts: tuple[Any, ...]) -> None:
    found = Conditions(without=without).one(sample(*parts))
    assert found.reason is not None
    assert found.reason.kind is ReasonKind.NOTHING_TO_ASK
    assert f"--without {without}" in found.reason.detail
    assert (found.parts, found.candidates) == ((), ())


def test_letters_without_text_still_list_the_options() -> None:
    found = Conditions(candidates="letter", without="text").one(sample(metadata={"hint": "It barks."}))
    assert found.parts == (ONE, "Options:\nA. a cat\nB. a dog\nC. a cow\n" + ENDING)
    blind = Conditions(candidates="letter", without="image").one(sample())
    assert blind.parts == ("Question: What is it?\nOptions:\nA. a cat\nB. a dog\nC. a cow\n" + ENDING,)


# All of them


@pytest.mark.parametrize("candidates", ["text", "letter"])
@pytest.mark.parametrize("without", [None, "image", "text"])
def test_what_cannot_be_scored_stays_as_it_is(candidates: str, without: str | None) -> None:
    given = sample(parts=(), candidates=(), reason=Reason(ReasonKind.BAD_RECORD, "no field"))
    conditions = Conditions(candidates=candidates, without=without)
    assert list(conditions.apply([given])) == [given]


def test_only_what_is_unusual_is_in_the_identity() -> None:
    assert Conditions().settings() == {}
    assert Conditions(candidates="letter").settings() == {"candidates": "letter"}
    assert Conditions(candidates="letter", without="text").settings() == {"candidates": "letter", "without": "text"}
    given = sample()
    assert Conditions().one(given) is given


@pytest.mark.parametrize("options", [{"candidates": "number"}, {"candidates": "auto"}, {"without": "question"}])
def test_what_is_no_condition(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"--(candidates|without) \w+: unknown"):
        Conditions(**options)


PARTS = st.lists(st.sampled_from([ONE, TWO, "", " ", "What?", "\n"]), min_size=1, max_size=5)


@given(
    PARTS,
    st.lists(st.text(min_size=1, max_size=4), min_size=2, max_size=5),
    st.data(),
    st.sampled_from([None, "image", "text"]),
    st.sampled_from(["text", "letter"]),
    st.booleans(),
)
def test_a_sample_stays_whole(
    parts: list[Any], candidates: list[str], data: st.DataObject, without: str | None, mode: str, ordered: bool
) -> None:
    answer = data.draw(st.integers(0, len(candidates) - 1))
    given = sample(*parts, candidates=tuple(candidates), answer=answer, ordered=ordered)
    found = Conditions(candidates=mode, without=without).one(given)
    assert found.key == given.key
    if found.reason is not None:
        assert found.reason.kind is ReasonKind.NOTHING_TO_ASK
        return
    assert found.parts
    assert len(found.candidates) == len(given.candidates)
    if without != "image":
        assert found.images == given.images
    if mode == "letter" and sorted(candidates) != sorted(found.candidates):
        assert f"{found.candidates[found.answer]}. {given.candidates[answer]}\n" in "".join(
            part for part in found.parts if isinstance(part, str)
        )


def test_every_condition_scores_as_the_plain_loop_does(qwen2vl: Path, tmp_path: Path) -> None:
    """A real engine on a prompt of nothing but an image, of nothing but text, and on letters after a line's end."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    given = sample(ImageFile(tmp_path / "a.png"), "What is it?")
    options = "Options:\nA. a cat\nB. a dog\nC. a cow\n" + ENDING
    expected = {
        ("text", "image"): ("What is it?", list(given.candidates)),
        ("text", "text"): (TAG, list(given.candidates)),
        ("letter", None): (f"{TAG}Question: What is it?\n{options}", ["A", "B", "C"]),
        ("letter", "text"): (TAG + options, ["A", "B", "C"]),
    }
    checkpoint = Checkpoint.open(qwen2vl)
    protocol = open_protocol("qwen2vl", checkpoint, min_pixels=3136, max_pixels=12544)
    loop = PlainLoop(qwen2vl, 3136, 12544)
    samples = [
        replace(Conditions(candidates=candidates, without=without).one(given), id=f"{candidates} {without}")
        for candidates, without in expected
    ]
    engine = open_engine("transformers", checkpoint, protocol, EngineOptions(device="cpu", dtype="float32"))
    scored = {result.sample.id: result for result in engine.score(map(protocol.prompt, samples))}
    engine.close()
    for (candidates, without), (text, answers) in expected.items():
        result = scored[f"{candidates} {without}"]
        logits, _ = loop(Question("t", "q", text, [tmp_path / "a.png"] * text.count(TAG), answers))
        assert result.reason is None
        for found, plain in zip(result.candidates, logits, strict=True):
            assert found.logits == pytest.approx(plain, abs=1e-4)
