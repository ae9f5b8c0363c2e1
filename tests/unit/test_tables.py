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
        *records(3, "knees", "c", graded=3, split_at=1, **{"class": lambda number: "nml"[number % 3]}),  # type: ignore[arg-type] # among Any
        *records(4, "many", "c", count=60, **{"class": str}),
        *records(5, "easy", "gap", version="easy"),
        *records(6, "hard", "gap", version="hard"),
    ]
    made = summarize(everything, bootstrap=20)
    lines = shown(summary_tables(made, width), width)
    summary = made.to_dict()
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


def headings(tables: Iterable[Table]) -> list[str]:
    return [str(table.columns[0].header) for table in tables]


def test_a_section_that_only_repeats_another_is_left_out() -> None:
    one = records(1)
    assert headings(summary_tables(summarize(one, bootstrap=0), 160)) == ["task"], "one task, directory and ability"
    each = [*records(1, "a", "x"), *records(2, "b", "y")]
    assert headings(summary_tables(summarize(each, bootstrap=0), 160)) == ["task"], "a directory for each task"
    grouped = [*records(1, "a", "x"), *records(2, "b", "x"), *records(3, "c", "y")]
    assert headings(summary_tables(summarize(grouped, bootstrap=0), 160)) == ["task", "directory"]


def test_what_all_names_share_stands_in_the_heading_alone() -> None:
    [table] = summary_tables(summarize([*records(1, "red_32"), *records(2, "blue_32")], bootstrap=0), 80)
    assert headings([table]) == ["task (*_32)"]
    assert [line.split()[0] for line in shown([table], 80)] == ["task", "blue", "red", "overall"]


def test_long_names_do_not_take_a_second_line_at_80_columns() -> None:
    tasks = ["general_visual_question_answering", "Wiki_attraction_identification"]
    everything = [record for seed, task in enumerate(tasks) for record in records(seed, task, count=4)]
    everything += [record for seed, task in enumerate(tasks) for record in records(seed, f"{task}s", "e", count=4)]
    [task, directory] = summary_tables(summarize(everything, bootstrap=20), 80)
    lines = shown([task], 80)
    assert len(lines) == 1 + 4
    assert any(line.startswith("general_visual_question_answerings ") for line in lines)
    assert directory.row_count == 3, "the overall row is under the last table"


@pytest.mark.parametrize(("width", "numbers"), [(80, 7), (160, 12)])
def test_a_comparison_fits_a_terminal(width: int, numbers: int) -> None:
    first, second = collect(records(1)).outcomes, collect(records(2)).outcomes
    comparison = compare_tables(first, second, bootstrap=50)
    lines = shown(comparison_tables(comparison, width), width)
    _, row = (line for line in lines if line.startswith("task "))  # the heading, and the task of that name
    overall = comparison.overall
    cells = row.replace(" to ", "to").split()
    assert len(cells) == numbers
    assert cells[3] == f"{overall.sds:+.4f}"
    assert all(len(line) <= width for line in lines)
    assert any(line.startswith("overall") for line in lines)
    nothing = comparison_tables(compare_tables(first, [], bootstrap=50), width)
    assert any(line.startswith("overall") and " - " in line for line in shown(nothing, width))
