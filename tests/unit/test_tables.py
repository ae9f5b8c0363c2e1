"""What a terminal shows: every number that a summary or comparison has, in rows that fit."""

import io
import random
from collections.abc import Iterable
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from radar_fast.results.comparison import compare_tables
from radar_fast.results.metrics import summarize
from radar_fast.results.outcomes import collect
from radar_fast.results.record import Record, record_of
from radar_fast.sample import Candidate, Sample, Scored
from radar_fast.terminal.tables import MOST_CLASSES, comparison_tables, summary_tables


def records(seed: int, task: str = "task", directory: str = "d", count: int = 12, **metadata: Any) -> list[Record]:
    draw = random.Random(seed)
    return [
        record_of(
            Scored(
                Sample(
                    f"q{number}",
                    task,
                    directory,
                    "seeing",
                    ("?",),
                    ("x", "y", "z"),
                    number % 3,
                    {name: value(number) if callable(value) else value for name, value in metadata.items()},
                ),
                tuple(Candidate((draw.gauss(0, 1),), (-1.0,)) for _ in range(3)),
            )
        )
        for number in range(count)
    ]


def shown(tables: Iterable[Table], width: int) -> list[str]:
    stream = io.StringIO()
    console = Console(width=width, file=stream)
    for table in tables:
        console.print(table)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 160])
def test_what_only_some_benchmarks_have_gets_a_table_of_its_own(width: int) -> None:
    everything = [
        *records(1, "MMBench", "a", group=lambda number: number // 4),
        *records(2, "Hallusion", "b", group_figure=lambda number: number // 3, group_question=lambda n: n % 3),
        *records(3, "knees", "c", graded=3, split_at=1, **{"class": lambda number: "nml"[number % 3]}),
        *records(4, "many", "c", count=60, **{"class": str}),
        *records(5, "easy", "gap", version="easy"),
        *records(6, "hard", "gap", version="hard"),
    ]
    summary = summarize(everything, bootstrap=20).to_dict()
    lines = shown(summary_tables(summary, width), width)
    tasks: Any = summary["tasks"]
    rows = {line.split("  ")[0]: line.split()[-3:] for line in lines}
    assert rows["MMBench: circular"] == [f"{tasks['MMBench']['circular']['accuracy']:.4f}", "3", "0"]
    assert rows["Hallusion: figures"][1:] == ["4", "0"]
    assert rows["Hallusion: questions"][1:] == ["3", "0"]
    graded = tasks["knees"]["graded"]
    assert rows["knees"] == [f"{graded['mean_absolute_error']:.4f}", "1", f"{graded['split_accuracy']:.4f}"]
    assert {"knees: n", "knees: m", "knees: l", "knees: mean over classes"} <= set(rows)
    assert len(tasks["many"]["classes"]["accuracy"]) > MOST_CLASSES
    assert [name for name in rows if name.startswith("many:")] == ["many: mean over classes"]
    versions: Any = summary["directories"]["gap"]["versions"]  # type: ignore[index]
    spread = [f"{versions['sds_spread']:.4f}", f"{versions['accuracy_spread']:.4f}", "12"]
    assert rows["gap: spread"] == spread
    assert all(len(line) <= width for line in lines)


def test_most_benchmarks_have_three_tables() -> None:
    assert len(summary_tables(summarize(records(1), bootstrap=0).to_dict(), 160)) == 3


@pytest.mark.parametrize(("width", "numbers"), [(80, 7), (160, 12)])
def test_a_comparison_fits_a_terminal(width: int, numbers: int) -> None:
    first, second = collect(records(1)).outcomes, collect(records(2)).outcomes
    comparison = compare_tables(first, second, bootstrap=50).to_dict()
    lines = shown(comparison_tables(comparison, width), width)
    _, row = (line for line in lines if line.startswith("task "))  # the heading, and the task of that name
    overall: Any = comparison["overall"]
    cells = row.replace(" to ", "to").split()
    assert len(cells) == numbers
    assert cells[3] == f"{overall['sds']:+.4f}"
    assert all(len(line) <= width for line in lines)
    assert any(line.startswith("overall") for line in lines)
    nothing = comparison_tables(compare_tables(first, [], bootstrap=50).to_dict(), width)
    assert any(line.startswith("overall") and " - " in line for line in shown(nothing, width))
