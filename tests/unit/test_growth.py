"""A series of checkpoints on a terminal: what is shown of it, and what changed."""

import io
import random
from collections.abc import Sequence

import pytest
from rich.console import Console

from radar_fast.results.comparison import compare_tables
from radar_fast.results.difference import Comparison
from radar_fast.results.metrics import summarize
from radar_fast.results.outcomes import collect
from radar_fast.results.record import Record, record_of
from radar_fast.results.summary import Summary
from radar_fast.sample import Candidate, Sample, Scored
from radar_fast.terminal.growth import growth_tables
from radar_fast.terminal.names import shortened, step_labels

TASKS = {  # task -> directory, ability
    "general_visual_question_answering_1_32": ("general_visual_question_answering", "perception"),
    "general_visual_question_answering_2_32": ("general_visual_question_answering", "perception"),
    "Wiki_attraction_identification_32": ("Wiki_attraction_identification", "perception"),
    "MathVista_32": ("mathematical_reasoning", "reasoning"),
}


def records(progress: float) -> list[Record]:
    """Of a checkpoint that is so far through its training, 0..1: the same questions, ever better known."""
    found = []
    for task, (directory, ability) in TASKS.items():
        draw = random.Random(task)
        for number in range(10):
            answer, other = draw.gauss(0, 1) + 3 * progress, draw.gauss(0, 1)
            sample = Sample(f"q{number}", task, directory, ability, ("?",), ("x", "y"), 0)
            found.append(record_of(Scored(sample, (Candidate((answer,), (-1.0,)), Candidate((other,), (-1.0,))))))
    return found


def series(count: int) -> tuple[list[tuple[str, Summary]], Comparison]:
    steps = [
        (f"step-{500 * (number + 1)}", summarize(records(number / (count - 1)), confidence=None))
        for number in range(count)
    ]
    return steps, compare_tables(collect(records(0)).outcomes, collect(records(1)).outcomes)


def shown(steps: Sequence[tuple[str, Summary]], width: int, gained: Comparison | None) -> dict[str, list[str]]:
    """Title -> lines."""
    found = {}
    for title, table in growth_tables(steps, width, gained):
        stream = io.StringIO()
        Console(width=width, file=stream).print(table)
        found[title] = stream.getvalue().splitlines()
    return found


def test_forty_checkpoints_at_80_columns() -> None:
    steps, gained = series(40)
    tables = shown(steps, 80, gained)
    [title, *_] = tables
    assert title == "SDS by task (3 of 40 checkpoints)"
    lines = tables[title]
    assert len(lines) == 1 + len(TASKS), "a row for each task, none of two lines"
    assert lines[0].split()[:2] == ["task", "(*_32)"]
    assert lines[0].split()[2:] == ["500", "10500", "20000", "change", "95%", "interval"]
    [row] = [line for line in lines if line.startswith("MathVista ")]
    change = gained.tasks["MathVista_32"].change("sds")
    first, last = (summary.tasks["MathVista_32"].sds for _, summary in (steps[0], steps[-1]))
    assert f"{first:.3f}" in row
    assert f"{last:.3f}" in row
    assert row.rstrip().endswith(f"{change.value:+.3f} {change.low:+.3f} to {change.high:+.3f}")
    assert all(len(line) <= 80 for lines in tables.values() for line in lines)
    assert [line.split()[0] for line in list(tables.values())[-1][1:]] == ["perception", "reasoning", "overall"]


@pytest.mark.parametrize(("width", "cells"), [(80, 6), (160, 6)])
def test_a_short_series_is_shown_whole_with_four_places(width: int, cells: int) -> None:
    steps, _ = series(6)
    tables = shown(steps, width, None)
    assert list(tables) == ["SDS by task", "SDS by directory", "SDS by ability"]
    for lines in tables.values():
        numbers = lines[-1].split()[-cells:]
        assert all(len(number) == len("0.1234") for number in numbers)
        assert all(len(line) <= width for line in lines)
    assert len(tables["SDS by directory"]) == 4


def test_two_checkpoints_that_share_no_sample_have_no_change() -> None:
    steps, _ = series(2)
    nothing = compare_tables(collect(records(0)).outcomes, [], confidence=None)
    lines = shown(steps, 80, nothing)["SDS by task"]
    assert lines[1].split()[-2:] == ["-", "-"]


def test_a_task_that_only_one_checkpoint_has_is_a_dash_elsewhere() -> None:
    steps, _ = series(2)
    fewer = summarize([record for record in records(0) if record.task != "MathVista_32"], confidence=None)
    lines = shown([("step-1", fewer), steps[1]], 80, None)["SDS by task"]
    [row] = [line for line in lines if line.startswith("MathVista ")]
    assert row.split()[1] == "-"
    assert row.split()[2].startswith("0.")


@pytest.mark.parametrize(
    ("names", "short", "heading"),
    [
        (["a_32", "b_32"], ["a", "b"], "task (*_32)"),
        (["Wiki_a_32", "Wiki_b_32"], ["a", "b"], "task (Wiki_*_32)"),
        (["a_b", "a_c_b"], ["a", "a_c"], "task (*_b)"),
        (["colours", "colour"], ["colours", "colour"], "task"),
        (["only_32"], ["only_32"], "task"),
    ],
)
def test_names_lose_the_words_they_share(names: list[str], short: list[str], heading: str) -> None:
    found = shortened(names)
    assert [found[name] for name in names] == short
    assert found.heading("task") == heading


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["step-100", "step-1600", "step-150"], ["100", "1600", "150"]),
        (["iter100", "iter150"], ["100", "150"]),
        (["ckpt-1.5", "ckpt-1.7"], ["1.5", "1.7"]),
        (["base", "base-sft"], ["base", "base-sft"]),
        (["checkpoint-500", "last"], ["checkpoint-500", "last"]),
        (["step-100"], ["step-100"]),
    ],
)
def test_checkpoints_are_told_apart_by_what_differs(names: list[str], labels: list[str]) -> None:
    assert step_labels(names) == labels
