"""A farm on Slurm: a script that a person can read and change, of an array of tasks that each run ``radar-fast score``.

The script is plain bash with two batch scripts in it: the array, and the merge of its shards, which waits for all of
them. A task is put back into the queue where it is preempted or about to reach its time limit, and where the exit
status of ``score`` says that trying again may help (75); the journal is what it goes on from.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from radar_fast.errors import UsageError
from radar_fast.series import checkpoint_name

__all__ = ["SlurmFarm", "slurm_script"]

RESTARTS = 20
"""Times that a task may be put back into the queue."""
GRACE_SECONDS = 120
"""Before its time limit, when a task is told to end: it closes its journal and is put back into the queue."""
_FORBIDDEN = ("array", "dependency", "wrap", "parsable", "signal", "test-only", "a", "d")
"""Options of sbatch that the script itself has."""


@dataclass(frozen=True, kw_only=True)
class SlurmFarm:
    """What the script is to run."""

    options: str
    """Of sbatch, as on its command line: ``--partition gpu --gpus 1 --time 1:00:00``."""
    words: Sequence[str]
    """``score`` and its options, but for ``--model`` and ``--out``: what every task runs."""
    models: Sequence[Path]
    """Checkpoint folders."""
    out: Path
    """The farm's ``--out``."""
    shards: int | None
    """Tasks among which each benchmark is divided; None: a task for each checkpoint."""
    several_benchmarks: bool
    """Then ``score`` itself makes a folder for each checkpoint."""
    name: str
    """How result folders are named: :func:`radar_fast.series.checkpoint_name`."""


def slurm_script(farm: SlurmFarm) -> str:
    """The script.

    Raises:
        UsageError: an option of sbatch that cannot be, or one checkpoint and no number of shards.
    """
    header = "\n".join(f"#SBATCH {option}" for option in _sbatch(farm.options))
    if farm.shards is None and len(farm.models) < 2:
        raise UsageError("--slurm: with a single checkpoint --engines says among how many tasks it is divided")
    array, task = _of_shards(farm) if farm.shards is not None else _of_checkpoints(farm)
    merge = _merge(farm) if farm.shards is not None else ""
    logs = shlex.quote(str((farm.out / "logs").absolute()))
    return f"""#!/bin/bash
# Submits a farm of radar-fast to Slurm: `bash THIS-FILE`. Change what you like; submitting it again goes on where the
# last one stopped.
set -euo pipefail
mkdir -p {logs}

array=$(sbatch --parsable <<'ARRAY'
#!/bin/bash
#SBATCH --job-name radar-fast
#SBATCH --array 0-{array - 1}
#SBATCH --requeue
#SBATCH --open-mode append
#SBATCH --output {_quoted(str((farm.out / "logs").absolute()) + "/slurm-%A_%a.log")}
#SBATCH --signal B:TERM@{GRACE_SECONDS}
{header}

{task}
trap 'kill -TERM "$scoring"' TERM # preempted, or {GRACE_SECONDS} seconds before the time limit
wait "$scoring" && status=0 || status=$?
if [ "$status" -eq {128 + 15} ]; then # the trap has come in between: wait for its journal to be closed
    wait "$scoring" && status=0 || status=$?
fi
case $status in
0 | 1) exit 0 ;; # done; with 1 some samples or checkpoints are unscored, and the log names them
75 | {128 + 15}) ;; # trying again may help; told to end
*) exit "$status" ;;
esac
if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {RESTARTS} ]; then
    echo "radar-fast: exit status $status; back into the queue"
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
    sleep 60 # Slurm ends the task meanwhile
fi
exit "$status"
ARRAY
)
echo "array: $array"
{merge}"""


def _of_shards(farm: SlurmFarm) -> tuple[int, str]:
    command = _command(farm, [str(model.absolute()) for model in farm.models], str(farm.out.absolute()))
    return farm.shards or 1, f'{command} --shard "$SLURM_ARRAY_TASK_ID/{farm.shards}" &\nscoring=$!'


def _of_checkpoints(farm: SlurmFarm) -> tuple[int, str]:
    names = [checkpoint_name(model, farm.name) for model in farm.models]
    out = farm.out.absolute()
    folders = [out if farm.several_benchmarks else out / name for name in names]
    listed = "\n".join(
        f"    {shlex.quote(str(model.absolute()))} {shlex.quote(str(folder))}"
        for model, folder in zip(farm.models, folders, strict=True)
    )
    words = " ".join(map(shlex.quote, farm.words))
    return len(farm.models), (
        f"tasks=( # a checkpoint, and where its results go\n{listed}\n)\n"
        f'radar-fast {words} --model "${{tasks[2 * SLURM_ARRAY_TASK_ID]}}" '
        '--out "${tasks[2 * SLURM_ARRAY_TASK_ID + 1]}" &\n'
        "scoring=$!"
    )


def _command(farm: SlurmFarm, models: Sequence[str], out: str) -> str:
    words = [*farm.words, *(["--model", *models] if models else []), "--out", out]
    return " ".join(["radar-fast", *map(shlex.quote, words)])


def _merge(farm: SlurmFarm) -> str:
    out = shlex.quote(str(farm.out.absolute()))
    return f"""
merge=$(sbatch --parsable --dependency "afterok:$array" --kill-on-invalid-dep yes <<'MERGE'
#!/bin/bash
#SBATCH --job-name radar-fast-merge
#SBATCH --output {_quoted(str((farm.out / "logs").absolute()) + "/slurm-merge-%j.log")}
radar-fast merge {out}
MERGE
)
echo "merge: $merge"
"""


def _sbatch(options: str) -> list[str]:
    """The options, each as a line of a batch script has it. Raises UsageError."""
    if re.search(r"[\n\r\0]", options):
        raise UsageError("--slurm: holds a line break; give sbatch's options in one line")
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise UsageError(f"--slurm {options}: {error}") from None
    lines: list[str] = []
    for word in words:
        if word.startswith("-"):
            name = word.lstrip("-").partition("=")[0]
            if name in _FORBIDDEN:
                raise UsageError(f"--slurm {options}: the script sets {word.partition('=')[0]} itself; leave it out")
            lines.append(_quoted(word))
        elif lines:
            lines[-1] += f" {_quoted(word)}"
        else:
            raise UsageError(f"--slurm {options}: {word} is no option of sbatch; give them as on its command line")
    return lines


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word) else '"' + word.replace('"', '\\"') + '"'
