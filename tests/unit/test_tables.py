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
from radar_fast.terminal.summaries import print_summary
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
    made = summarize(everything)
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
    assert headings(summary_tables(summarize(one, confidence=None), 160)) == ["task"], "one task, directory and ability"
    each = [*records(1, "a", "x"), *records(2, "b", "y")]
    assert headings(summary_tables(summarize(each, confidence=None), 160)) == ["task"], "a directory for each task"
    grouped = [*records(1, "a", "x"), *records(2, "b", "x"), *records(3, "c", "y")]
    assert headings(summary_tables(summarize(grouped, confidence=None), 160)) == ["task", "directory"]


def test_what_all_names_share_stands_in_the_heading_alone() -> None:
    [table] = summary_tables(summarize([*records(1, "red_32"), *records(2, "blue_32")], confidence=None), 80)
    assert headings([table]) == ["task (*_32)"]
    assert [line.split()[0] for line in shown([table], 80)] == ["task", "blue", "red", "overall"]


def test_long_names_do_not_take_a_second_line_at_80_columns() -> None:
    tasks = ["general_visual_question_answering", "Wiki_attraction_identification"]
    everything = [record for seed, task in enumerate(tasks) for record in records(seed, task, count=4)]
    everything += [record for seed, task in enumerate(tasks) for record in records(seed, f"{task}s", "e", count=4)]
    [task, directory] = summary_tables(summarize(everything), 80)
    lines = shown([task], 80)
    assert len(lines) == 1 + 4
    assert any(line.startswith("general_visual_question_answerings ") for line in lines)
    assert directory.row_count == 3, "the overall row is under the last table"


@pytest.mark.parametrize(("width", "numbers"), [(80, 7), (160, 12)])
def test_a_comparison_fits_a_terminal(width: int, numbers: int) -> None:
    first, second = collect(records(1)).outcomes, collect(records(2)).outcomes
    comparison = compare_tables(first, second)
    lines = shown(comparison_tables(comparison, width), width)
    _, row = (line for line in lines if line.startswith("task "))  # the heading, and the task of that name
    overall = comparison.overall
    cells = row.replace(" to ", "to").replace(" n.s.", "").split()
    assert len(cells) == numbers
    assert cells[3] == f"{overall.sds:+.4f}"
    assert all(len(line) <= width for line in lines)
    assert any(line.startswith("overall") for line in lines)
    nothing = comparison_tables(compare_tables(first, []), width)
    assert any(line.startswith("overall") and " - " in line for line in shown(nothing, width))


def shifted(
    task: str, by: float, directory: str, count: int = 12, noise: float = 0.0
) -> tuple[list[Record], list[Record]]:
    """A task before and after: the answer's logit has moved by ``by``, give or take ``noise``."""
    draw = random.Random(task)
    sides: tuple[list[Record], list[Record]] = ([], [])
    for number in range(count):
        sample = Sample(str(number), task, directory, "seeing", ("?",), ("x", "y"), 0)
        start = draw.gauss(0, 1)
        for records_of_side, logit in zip(sides, (start, start + by + noise * (-1) ** number), strict=True):
            scored = Scored(sample, (Candidate((logit,), (-1.0,)), Candidate((0.0,), (-1.0,))))
            records_of_side.append(record_of(scored))
    return sides


def side_by_side() -> list[list[Record]]:
    tasks = [
        ("alike", 0, "d", 12, 0.5),
        ("gained", 1, "d", 12, 0.1),
        ("lost", -1, "e", 12, 0.1),
        ("few", 2, "e", 4, 0.1),
    ]
    pairs = [shifted(task, by, directory, count, noise) for task, by, directory, count, noise in tasks]
    return [[record for pair in pairs for record in pair[side]] for side in (0, 1)]


@pytest.mark.parametrize("width", [80, 160])
def test_a_comparison_marks_what_chance_explains_and_starts_with_what_gained_most(width: int) -> None:
    first, second = (collect(side).outcomes for side in side_by_side())
    comparison = compare_tables(first, second)
    by_change, *_ = (shown([table], width) for table in comparison_tables(comparison, width))
    rows = [line.split()[0] for line in by_change[1:]]
    assert [name for name in rows if name != "overall"] == ["few", "gained", "alike", "lost"]
    by_name, *_ = (shown([table], width) for table in comparison_tables(comparison, width, "name"))
    assert sorted(by_name) == sorted(by_change)
    assert [line.split()[0] for line in by_name[1:] if "overall" not in line] == ["alike", "few", "gained", "lost"]
    of = {line.split()[0]: line for line in by_change}
    assert " to " in of["alike"]
    after = {name: line.split(" to ")[1].split()[1] for name, line in of.items() if name in ("alike", "gained", "lost")}
    assert [name for name, cell in after.items() if cell == "n.s."] == ["alike"]
    assert " to " not in of["few"], "four pairs have no interval"
    assert all(len(line) <= width for line in by_change)
    assert len({line.index(" to ") for name, line in of.items() if name in ("alike", "gained", "lost")}) == 1


def test_the_overall_row_stays_last_and_what_has_no_change_before_it() -> None:
    first, second = side_by_side()
    alone = shifted("alone", 1, "e")[0]
    comparison = compare_tables(collect([*first, *alone]).outcomes, collect(second).outcomes)
    [rows] = [shown([table], 160) for table in comparison_tables(comparison, 160)[:1]]
    names = [line.split()[0] for line in rows[1:] if "overall" not in line]
    assert names[-1] == "alone"
    last = shown(comparison_tables(comparison, 160)[-1:], 160)[-1]
    assert last.startswith("overall")


def printed(missing: int | None) -> str:
    stream = io.StringIO()
    everything = records(1, count=30)
    known = None if missing is None else len(everything) + missing
    print_summary(Console(width=100, file=stream), summarize(everything, confidence=None, samples=known))
    return stream.getvalue()


def test_a_summary_of_a_part_says_so_before_and_after_its_numbers() -> None:
    text = printed(missing=10)
    first, *_, last = text.strip().splitlines()
    assert first == last
    assert first.startswith("INCOMPLETE: 10 of 40 samples (25.0%) are missing")
    for complete in (0, None):
        assert "INCOMPLETE" not in printed(missing=complete)


def test_a_terminal_does_not_obey_what_data_is_called() -> None:
    """Escapes in a task's name clear a screen, move the cursor or write the clipboard."""
    stream = io.StringIO()
    made = summarize([*records(0, "\x1b[2J\x1b]52;c;cm0=\x07"), *records(1, "other\r")])
    print_summary(Console(file=stream, width=120, force_terminal=True, color_system=None), made)
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
    assert r"\x1b[2J" in stream.getvalue()
