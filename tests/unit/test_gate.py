"""The gate: go, no-go or undecided, by real folders and a policy file."""

import json
from pathlib import Path

import pytest
from command_line import run_cli
from some_series import write_run

from radar_fast.results.comparison import compare


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three runs; from ``low`` to ``high`` every task gains by far."""
    folder = tmp_path_factory.mktemp("gate")
    skills = {"low": 0.5, "same": 0.5, "high": 4.0}
    return {
        name: write_run(folder / f"step-{step}", lambda _, skill=skill: skill, samples=60)  # type: ignore[misc]
        for step, (name, skill) in enumerate(skills.items())
    }


def gate(first: Path, second: Path, tmp_path: Path, policy: str) -> tuple[int, list[str], dict[str, object]]:
    (tmp_path / "policy.toml").write_text(policy)
    result = run_cli("gate", first, second, "--policy", tmp_path / "policy.toml", "--json", tmp_path / "gate.json")
    assert result.stderr == ""
    return result.exit_code, result.stdout.splitlines(), json.loads((tmp_path / "gate.json").read_text())


def test_go_where_every_rule_is_met(runs: dict[str, Path], tmp_path: Path) -> None:
    policy = '[[rules]]\nat_least = 0.05\n[[rules]]\nsection = "abilities"\nat_least = 0.0\n'
    status, lines, document = gate(runs["low"], runs["high"], tmp_path, policy)
    assert (status, lines[-1], document["verdict"]) == (0, "go", "go")
    assert [line.split(":")[0] for line in lines[:-1]] == ["go"] * 3
    assert "overall: sds +" in lines[0]


def test_no_go_where_one_is_broken(runs: dict[str, Path], tmp_path: Path) -> None:
    policy = '[[rules]]\nsection = "tasks"\nname = "MMBench_*"\nmeasure = "accuracy"\nat_least = -0.02\n'
    status, lines, _ = gate(runs["high"], runs["low"], tmp_path, policy)
    assert (status, lines[-1]) == (1, "no-go")
    assert len(lines) == 3
    assert all(line.startswith("no-go: MMBench_") and line.endswith("below -0.02") for line in lines[:2])


def test_undecided_where_chance_may_explain_it(runs: dict[str, Path], tmp_path: Path) -> None:
    status, lines, _ = gate(runs["low"], runs["same"], tmp_path, "[[rules]]\nat_least = 0.0\n")
    assert (status, lines[-1]) == (3, "undecided")
    assert "may be on either side of +0" in lines[0]
    status, lines, _ = gate(runs["low"], runs["same"], tmp_path, "[[rules]]\nat_least = -0.3\n")
    assert (status, lines[-1]) == (0, "go"), "a loss that is put up with"


def test_intervals_are_corrected_for_the_number_of_rules(runs: dict[str, Path], tmp_path: Path) -> None:
    policy = 'confidence = 0.9\n[[rules]]\nsection = "tasks"\nat_least = 0.0\n[[rules]]\nat_least = 0.0\n'
    _, _, document = gate(runs["low"], runs["high"], tmp_path, policy)
    expected = compare(runs["low"], runs["high"], confidence=1 - 0.1 / 4)
    ends = {each["name"]: (each["low"], each["high"]) for each in document["decisions"]}  # type: ignore[attr-defined]
    assert ends["counting_8"] == (expected.tasks["counting_8"].sds_low, expected.tasks["counting_8"].sds_high)
    assert ends["overall"] == (expected.overall.sds_low, expected.overall.sds_high)


def test_a_run_that_is_not_complete_is_undecided_unless_that_is_allowed(runs: dict[str, Path], tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.mkdir()
    (part / "run.json").write_bytes((runs["high"] / "run.json").read_bytes())
    lines = (runs["high"] / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (part / "samples.jsonl").write_bytes(b"".join(lines[:-7]))
    status, said, _ = gate(runs["low"], part, tmp_path, "[[rules]]\nat_least = 0.0\n")
    assert (status, said[1:]) == (3, ["undecided: B lacks 7 samples as yet", "undecided"])
    status, said, _ = gate(runs["low"], part, tmp_path, "partial = true\n[[rules]]\nat_least = 0.0\n")
    assert (status, said[-1]) == (0, "go")


def test_too_few_pairs_are_undecided(tmp_path: Path) -> None:
    first, second = (write_run(tmp_path / name, lambda _: 1.0, samples=6) for name in ("step-1", "step-2"))
    status, lines, _ = gate(first, second, tmp_path, '[[rules]]\nsection = "tasks"\nname = "c*"\nat_least = 0.0\n')
    assert status == 3
    assert lines[0] == "undecided: counting_8: sds has no interval: 5 pairs in 2 clusters are too few"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("", "has no rules; write at least one [[rules]]"),
        ("rules = 3", "has no rules"),
        ("confidence = 1\n[[rules]]\nat_least = 0", "confidence is 1; it must be a number between 0 and 1"),
        ("[[rules]]", "rule 1: at_least is None; it must be a change between -1 and 1"),
        ("[[rules]]\nat_least = 7", "at_least is 7"),
        ("[[rules]]\nat_least = true", "at_least is True"),
        ("[[rules]]\nat_last = 0", "at_last: unknown, did you mean at_least?"),
        ('[[rules]]\nat_least = 0\nsection = "skills"', "section is 'skills'; it is one of tasks, directories"),
        ('[[rules]]\nat_least = 0\nmeasure = "brier"', "measure is 'brier'; it is one of sds, accuracy"),
        (
            '[[rules]]\nat_least = 0\nsection = "tasks"\nname = "countin_8"',
            "none of the tasks, did you mean counting_8?",
        ),
        ("partial = 1\n[[rules]]\nat_least = 0", "partial is 1; it must be true or false"),
        ("=", "not TOML"),
    ],
)
def test_a_policy_that_cannot_be(runs: dict[str, Path], tmp_path: Path, policy: str, said: str) -> None:
    (tmp_path / "policy.toml").write_text(policy)
    result = run_cli("gate", runs["low"], runs["high"], "--policy", tmp_path / "policy.toml")
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
