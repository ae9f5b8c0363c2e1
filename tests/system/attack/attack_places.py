"""What may stand where a file or a folder of ours was: a pipe, a device, a link, a folder, nothing, bytes, or far more.

Also the commands that look at such places, in this process.
"""

import os
import random
import shutil
from pathlib import Path

import click
from click.testing import CliRunner

from radar_fast.errors import RadarError

__all__ = ["command", "twist", "twisted_tree"]


def twist(rng: random.Random, place: Path) -> None:
    """Something else stands at a place."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    how = rng.randrange(8)
    if how == 0:
        os.mkfifo(place)
    elif how == 1:
        place.mkdir()
    elif how == 2:
        place.symlink_to(rng.choice([place, place.parent, *map(Path, ("/dev/zero", "/dev/stdin", "/proc/self/mem"))]))
    elif how == 3:
        place.symlink_to("nowhere")
    elif how == 4:
        place.write_bytes(b"")
    elif how == 5:
        place.write_bytes(rng.choice([b"[", b'{"a":', b"[[]," * 5]) * rng.choice([200, 900, 100_000]))
    elif how == 6:
        with place.open("wb") as file:  # takes no room on the disk
            file.truncate(2**28 + 1)
    else:
        place.write_bytes(rng.randbytes(rng.choice([1, 100, 100_000])))


def twisted_tree(rng: random.Random, root: Path) -> None:
    """One to three twists of what lies below a folder, and perhaps a stranger beside it."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        places = sorted(place for place in root.rglob("*") if not place.is_symlink())
        if places and rng.random() < 0.7:
            twist(rng, rng.choice(places))
        else:
            _stranger(rng, rng.choice([root, *(place for place in places if place.is_dir())]))


def _stranger(rng: random.Random, folder: Path) -> None:
    name = rng.choice(
        [
            *("step-7", "shard-00000-of-00000", "shard-00005-of-00002", f"step-{'9' * 200}", "step-9-tmp", "7" * 250),
            *("n" * 250, "a\nb", "\x1b[31m", "step-\udcff8", "run.json", "farm.json", ".tmp", "latest"),
        ]
    )
    place = folder / name
    if not os.path.lexists(place):
        twist(rng, place)


def command(*words: object) -> None:
    """A command of ours, run to its end in this process. Raises RadarError for one that is refused."""
    from radar_fast.cli import main

    # What is printed is kept by the runner; a traceback would be raised here.
    try:
        result = CliRunner().invoke(main, list(map(str, words)), standalone_mode=False, catch_exceptions=False)
    except click.ClickException as error:
        raise RadarError(" ".join(error.format_message().split())) from None
    if result.exit_code not in (0, 1, 3):
        raise RadarError(f"exit status {result.exit_code}")
