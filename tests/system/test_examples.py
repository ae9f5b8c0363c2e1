"""Every script of ``examples/``, run as its first line says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from radar_fast.results.folder import ResultFolder

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, *words: str | Path, **more: object) -> str:
    """What the script prints, with these variables in its environment."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests/support'}:{ROOT}"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment |= {variable: str(value) for variable, value in more.items()}
    program = sys.executable if name.endswith(".py") else "bash"
    done = subprocess.run(
        [program, str(ROOT / "examples" / name), *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.full
def test_training_loop(tmp_path: Path) -> None:
    said = run("training_loop.py", tmp_path)
    assert [line.split(":")[0] for line in said.splitlines()] == ["step 2", "step 4"]
    assert (tmp_path / "scores" / "step-4" / "summary.json").exists()


@pytest.mark.full
def test_a_farm_in_a_program(demo: Path, tmp_path: Path) -> None:
    models = [demo / "checkpoints" / step for step in ("step-100", "step-1600")]
    said = run("farm.py", demo / "mini-m3", tmp_path / "out", *models, RAY_ADDRESS="local")
    told = [line for line in said.splitlines() if "SDS" in line]
    for line, model in zip(told, models, strict=True):
        overall = ResultFolder(tmp_path / "out" / model.name).read_summary().overall
        assert line == f"{model.name}: SDS {overall.sds:.4f} over {overall.scored} samples"
        assert overall.scored + overall.unscored == 256


@pytest.mark.full
def test_a_farm_on_this_machine(demo: Path, tmp_path: Path) -> None:
    asked = {"CHECKPOINTS": demo / "checkpoints" / "step-1*00", "DATA": demo / "mini-m3", "OUT": tmp_path / "out"}
    run("farm_ray.sh", **asked, ENGINE="fake", ADDRESS="local", ENGINES=1)
    assert {path.name for path in tmp_path.glob("out/step-*/summary.json")} == {"summary.json"}
    assert len(list(tmp_path.glob("out/step-*/summary.json"))) == 2


def test_a_farm_on_slurm(demo: Path, tmp_path: Path) -> None:
    asked = {"CHECKPOINTS": demo / "checkpoints" / "step-*", "DATA": demo / "mini-m3", "OUT": tmp_path / "out"}
    said = run("farm_slurm.sh", **asked, ENGINE="fake", SUBMIT="cat")
    assert "#SBATCH --array 0-5" in said.splitlines()
    assert "#SBATCH --gpus 1" in said.splitlines()


@pytest.mark.full
def test_own_samples(tmp_path: Path) -> None:
    first = run("own_samples.py", tmp_path / "out")
    assert first.startswith("." * 16 + "\nSDS 0.")
    assert run("own_samples.py", tmp_path / "out") == first.lstrip(".")


@pytest.mark.full
def test_stream(demo: Path) -> None:
    said = run("stream.py", demo / "checkpoints" / "step-800", demo / "mini-m3")
    assert said.count(": SDS 0.") + said.count(": SDS 1.") == 5
