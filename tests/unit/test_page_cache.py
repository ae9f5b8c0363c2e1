"""Files read ahead, seen in the operating system's own page cache."""

import ctypes
import mmap
import os
import time
from pathlib import Path

import pytest

from radar_fast.series import _weights_after, plan_jobs
from radar_fast.util import page_cache
from radar_fast.util.page_cache import available_memory, reading_ahead

SIZE = 8 * 2**20


def resident(file: Path) -> float:
    """Share of a file's pages that are in memory (mincore(2))."""
    with file.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        pages = -(-len(mapped) // mmap.PAGESIZE)
        found = (ctypes.c_ubyte * pages)()
        start = ctypes.c_char.from_buffer(mapped)
        status = ctypes.CDLL(None, use_errno=True).mincore(ctypes.byref(start), ctypes.c_size_t(len(mapped)), found)
        del start
        assert status == 0, os.strerror(ctypes.get_errno())
    return sum(page & 1 for page in found) / pages


def forgotten(file: Path) -> Path:
    """A file on disk, and on disk alone."""
    file.write_bytes(os.urandom(SIZE))
    with file.open("r+b") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(file) > 0.5:
        pytest.skip("this file system keeps its pages")
    return file


def test_files_are_read_while_something_else_goes_on(tmp_path: Path) -> None:
    files = [forgotten(tmp_path / name) for name in ("one", "two")]
    with reading_ahead([files[0], tmp_path / "gone", files[1]]):
        deadline = time.monotonic() + 60
        while min(map(resident, files)) < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert list(map(resident, files)) == [1.0, 1.0]


def test_what_does_not_fit_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = forgotten(tmp_path / "one")
    assert available_memory() > SIZE
    monkeypatch.setattr(page_cache, "available_memory", lambda: 2 * SIZE - 1)
    with reading_ahead([file]):
        time.sleep(0.2)
    assert resident(file) < 0.5


def test_an_error_inside_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), reading_ahead([tmp_path]):
        raise ZeroDivisionError


def test_a_series_reads_the_weights_that_come_next(tmp_path: Path) -> None:
    models = [tmp_path / name for name in ("step-1", "step-2", "step-3")]
    for model in models:
        model.mkdir()
        (model / "model.safetensors").touch()
        (model / "optimizer.pt").touch()
    jobs = plan_jobs(models, ["a", "b"], tmp_path / "out")
    following = [[file.parent.name for file in _weights_after(job, jobs)] for job in jobs]
    assert following == [["step-2"]] * 2 + [["step-3"]] * 2 + [[]] * 2
