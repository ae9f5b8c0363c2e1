"""Result folders -> a report, read aloud: the series, their samples, their pictures, and the page of all of them."""

import base64
import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from radar_fast.errors import UsageError
from radar_fast.report.packing import packed_json
from radar_fast.report.page import page
from radar_fast.report.pictures import thumbnails
from radar_fast.report.server import PICTURES, ReportServer
from radar_fast.report.shown import Shown, read_shown
from radar_fast.results.growth import growth
from radar_fast.util.atomic import cannot, write_bytes_atomic
from radar_fast.util.paths import checked_path

__all__ = ["MOST_INLINE", "MOST_PICTURES", "WrittenReport", "serve_report", "write_report"]

MOST_PICTURES = 600
"""Thumbnails beside a page, unless told otherwise."""
MOST_INLINE = 200
"""Thumbnails in a page."""


@dataclass(frozen=True)
class WrittenReport:
    """What was written."""

    path: Path
    """The page."""
    size: int
    """Its bytes."""
    folder: Path | None
    """Where its thumbnails lie; None where it has none, or has them in itself."""
    pictures: int
    """How many it shows."""
    notes: tuple[str, ...]
    """What its reader has to know, one line each; they stand in the page too."""

    def __str__(self) -> str:
        size = f"{self.size / 1e6:.1f} MB" if self.size >= 1e6 else f"{self.size / 1e3:.0f} kB"
        where = "in it" if self.folder is None else f"in {self.folder}"
        return f"{self.path}: {size}" + (f", {self.pictures} pictures {where}" if self.pictures else "")


def write_report(
    results: Sequence[str | Path],
    out: str | Path,
    *,
    data: str | Path | None = None,
    inline: bool = False,
    pictures: int | None = None,
) -> WrittenReport:
    """Write a page that shows a series of checkpoints, and works from its file alone.

    Thumbnails lie in a folder beside the page, named after it, or in the page. They are of the samples whose answer's
    probability has moved most over the steps.

    Args:
        results: result folders, or folders that hold them.
        out: the page's file, ending in ``.html``.
        data: where the benchmark lies; None: where ``run.json`` says. Without it there are no pictures.
        inline: put the thumbnails into the page.
        pictures: how many thumbnails at most; None: :data:`MOST_PICTURES`, or :data:`MOST_INLINE`.

    Raises:
        UsageError: an option that cannot be right.
        ResultsError: a folder holds no run, cannot be read, or ``out`` cannot be written.
        DataError: ``data`` cannot be read.
    """
    out = checked_path("--out", out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {out}: name a file that ends in .html")
    if pictures is not None and pictures < 0:
        raise UsageError(f"--pictures {pictures}: must be 0 or more")
    shown = _read(results, data, with_pictures=pictures != 0)
    wanted = _chosen(shown, pictures if pictures is not None else MOST_INLINE if inline else MOST_PICTURES)
    made = list(thumbnails([shown[place].album.images[number] for place, number in wanted]))
    files = [data for data in made if data is not None]
    numbers: dict[tuple[int, int], int] = {}
    for where, data_ in zip(wanted, made, strict=True):
        if data_ is not None:
            numbers[where] = len(numbers)
    why = (
        f"only {len(files)} pictures have a thumbnail here, of the samples that moved most; see --pictures and --serve"
    )
    if inline:
        text = _page(
            shown,
            numbers,
            {"inline": True, "prefix": "", "why": why},
            "data:",
            [base64.b64encode(data).decode() for data in files],
        )
        folder = None
    else:
        folder = out.with_name(f"{out.stem}-pictures") if files else None
        text = _page(
            shown, numbers, {"inline": False, "prefix": f"{out.stem}-pictures/", "why": why}, "data: 'self' file:"
        )
        if folder is not None:
            _write_pictures(folder, files)
    write_bytes_atomic(out, text)
    return WrittenReport(
        out, len(text), folder, len(files), tuple(dict.fromkeys(note for each in shown for note in each.notes))
    )


def serve_report(results: Sequence[str | Path], *, data: str | Path | None = None, port: int = 0) -> ReportServer:
    """A server of the same page with all pictures, on loopback; ``serve_forever`` makes it answer.

    Raises:
        UsageError, ResultsError, DataError: as :func:`write_report`, and for a port that cannot be had.
    """
    shown = _read(results, data)
    wanted = [(place, number) for place, each in enumerate(shown) for number in range(len(each.album.images))]
    numbers = {where: number for number, where in enumerate(wanted)}
    text = _page(
        shown, numbers, {"inline": False, "prefix": PICTURES, "why": "too many lie inside data files"}, "data: 'self'"
    )
    return ReportServer(text, [shown[place].album.images[number] for place, number in wanted], port)


def _read(results: Sequence[str | Path], data: str | Path | None, *, with_pictures: bool = True) -> list[Shown]:
    folder = None if data is None else checked_path("--data", data)
    found = growth(*results)
    if folder is not None and len(found) > 1:
        names = ", ".join(each.benchmark for each in found)
        raise UsageError(
            f"--data {folder}: these results are of several benchmarks ({names}); leave it out, or report on one"
        )
    return [read_shown(each, folder, pictures=with_pictures) for each in found]


def _chosen(shown: Sequence[Shown], most: int) -> list[tuple[int, int]]:
    """(benchmark, number in its album) of the pictures to show: of what moved most, as many of each benchmark."""
    chosen: list[tuple[int, int]] = []
    for place, each in enumerate(shown):
        share = most // len(shown)
        numbers = dict.fromkeys(number for key in each.by_swing() for number in each.album.shown.get(key, ()))
        chosen += [(place, number) for number in list(numbers)[:share]]
    return chosen


def _page(
    shown: Sequence[Shown],
    numbers: Mapping[tuple[int, int], int],
    pictures: Mapping[str, object],
    images: str,
    inline: Sequence[str] = (),
) -> bytes:
    names = [each.growth.benchmark for each in shown]
    document = {
        "version": version("radar-fast"),
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "benchmarks": [each.document(pictures) for each in shown],
    }
    blocks = {"block-document": packed_json(document)}
    for place, each in enumerate(shown):
        mine = {number: shown_as for (where, number), shown_as in numbers.items() if where == place}
        blocks |= {f"block-{place}-{name}": block for name, block in each.blocks(mine).items()}
    blocks |= {f"picture-{number}": picture for number, picture in enumerate(inline)}
    return page(", ".join(names), blocks, images=images)


def _write_pictures(folder: Path, files: Sequence[bytes]) -> None:
    """Write the thumbnails by number, and remove those that an earlier report has left beyond them."""
    try:
        folder.mkdir(exist_ok=True)
        for number, data in enumerate(files):
            (folder / f"{number}.jpg").write_bytes(data)
        for path in folder.iterdir():
            if (found := re.fullmatch(r"(\d+)\.jpg", path.name)) and int(found[1]) >= len(files):
                path.unlink()
    except OSError as error:
        raise cannot("write", Path(error.filename or folder), error) from error
