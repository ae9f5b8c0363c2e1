"""The script for Slurm as text: what is in it, and what cannot be. A real Slurm runs it in tests/system."""

import subprocess
from pathlib import Path

import pytest
from command_line import run_cli


def script(*words: object) -> str:
    result = run_cli("farm", "--engine", "fake", "--data", "docs", "--out", "an out", *words)
    assert result.exit_code == 0, result.stderr
    checked = subprocess.run(["bash", "-n"], input=result.stdout, capture_output=True, text=True, check=False)
    assert checked.stderr == "", "bash can read it"
    return result.stdout


def test_shards_and_their_merge() -> None:
    text = script("--engines", 8, "--tasks", "a*", "--limit", 3, "--slurm", '--partition gpu --gpus=1 --comment "a b"')
    for line in (
        "#SBATCH --array 0-7",
        "#SBATCH --requeue",
        "#SBATCH --partition gpu",
        "#SBATCH --gpus=1",
        '#SBATCH --comment "a b"',
    ):
        assert line in text.splitlines()
    out = Path("an out").absolute()
    data = Path("docs").absolute()
    command = f"radar-fast score --data {data} --tasks 'a*' --limit 3 --engine fake --out '{out}'"
    assert f'{command} --shard "$SLURM_ARRAY_TASK_ID/8" &' in text
    assert f"radar-fast merge '{out}'" in text
    assert '--dependency "afterok:$array"' in text


def test_a_task_for_each_checkpoint(tmp_path: Path) -> None:
    models = [tmp_path / "it's step-1", tmp_path / "step-2"]
    for folder in models:
        folder.mkdir()
    text = script("--model", *models, "--slurm", "--gpus 1")
    assert "#SBATCH --array 0-1" in text
    assert f"    '{tmp_path}/it'\"'\"'s step-1' '{Path('an out').absolute()}/it'\"'\"'s step-1'\n" in text
    assert "merge" not in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--slurm", "--gpus 1"], "--engines says among how many tasks"),
        (["--engines", 2, "--slurm", "gpus 1"], "gpus is no option of sbatch"),
        (["--engines", 2, "--slurm", "--array 1-3"], "the script sets --array itself"),
        (["--engines", 2, "--slurm", "--comment 'a"], "No closing quotation"),
        (["--engines", 2, "--slurm", "--gpus 1\nrm -rf /"], "holds a line break"),
        (["--engines", 2, "--slurm", "--gpus 1", "--gpus-per-engine", 1], "--gpus-per-engine: is for Ray"),
        (["--engines", 2, "--slurm", "--gpus 1", "--track", "tensorboard"], "--track tensorboard: not with --slurm"),
        (["--engines", 2, "--slurm", "--gpus 1", "--official-out", "x"], "--official-out: not with shards"),
    ],
)
def test_what_cannot_be(words: list[object], told: str) -> None:
    result = run_cli("farm", "--engine", "fake", "--data", "docs", "--out", "an out", *words)
    assert result.exit_code == 2
    assert told in result.stderr
