"""What a watch sees of a training: never a half-written checkpoint, nothing lost to rotation, everything told once."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoint_writers import WRITERS, rotated, save_pretrained, small_files, trainer, written

from radar_fast import ResultsError, UsageError
from radar_fast.watch.holding import Holding
from radar_fast.watch.lookout import HELD, Due, Lookout
from radar_fast.watch.ready import SETTLED, Ready
from radar_fast.watch.wanted import Wanted, steps_of


class Watched:
    """A lookout with a clock of its own, and what it said."""

    def __init__(
        self, root: Path, ready: Ready | None = None, wanted: Wanted | None = None, *, converts: bool = False
    ) -> None:
        root.mkdir(exist_ok=True)
        self.root, self.now, self.said = root, 100.0, list[str]()
        self.done: set[str] = set()
        self.holding = Holding(root / ".held")
        self.lookout = Lookout(
            root,
            ready or Ready(),
            wanted or Wanted(),
            self.holding,
            is_done=lambda name, _: name in self.done,
            say=self.said.append,
            converts=converts,
        )

    def look(self, later: float = 1.0) -> list[Due]:
        self.now += later
        self.lookout.look(self.now)
        return self.lookout.due()

    def settle(self) -> list[str]:
        """The names that are due once nothing has changed for long."""
        self.look()
        return [one.name for one in self.look(SETTLED + 1)]


def write(folder: Path, files: dict[str, bytes] | None = None) -> Path:
    for _ in written(folder, files or small_files()):
        pass
    return folder


@pytest.mark.parametrize("name", WRITERS)
def test_no_writers_checkpoint_is_due_before_it_is_whole(name: str, tmp_path: Path) -> None:
    watched = Watched(tmp_path / "root", converts=name in ("dcp", "olmo", "deepspeed", "megatron"))
    for step in (100, 200):
        folder = watched.root / f"checkpoint-{step}"
        for _ in WRITERS[name](folder):
            due = watched.look(SETTLED / 4)
            assert folder.name not in [one.name for one in due], "another piece is to come"
        watched.look()
        assert [one.name for one in watched.look(SETTLED + 1)] == [folder.name]
        watched.done.add(folder.name)
        watched.lookout.scored(folder.name)
        assert watched.look() == []
    assert len(watched.said) == 2
    assert all(": ready: " in line for line in watched.said)


def test_a_slow_writer_that_leaves_a_mark_is_waited_for_however_long_it_takes(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "root")
    for _ in trainer(watched.root / "checkpoint-5"):
        state = watched.root / "checkpoint-5" / "optimizer.pt"
        due = watched.look(SETTLED * 3) if state.exists() else watched.look()
        assert due == []
    assert [one.name for one in watched.look()] == ["checkpoint-5"], "at once, without having to settle"


def test_weights_have_to_be_there_whatever_mark_is(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "root", Ready.parse("DONE"))
    files = small_files(shards=3)
    lost = files.pop("model-00002-of-00003.safetensors")
    folder = write(watched.root / "step-1", files | {"DONE": b"x"})
    assert watched.settle() == []
    assert "model-00002-of-00003.safetensors" in watched.lookout.waiting()["step-1"]
    (folder / "model-00002-of-00003.safetensors").write_bytes(lost[:-1])
    assert watched.settle() == []
    (folder / "model-00002-of-00003.safetensors").write_bytes(lost)
    assert [one.name for one in watched.look()] == ["step-1"]


def test_a_file_of_ones_own_or_time_alone(tmp_path: Path) -> None:
    by_file = Watched(tmp_path / "file", Ready.parse("DONE"))
    folder = write(by_file.root / "iter_0007" / "hf").parent
    assert by_file.settle() == []
    (folder / "DONE").touch()
    assert [(one.name, one.step, one.original) for one in by_file.look()] == [("iter_0007", 7, folder / "hf")]
    by_time = Watched(tmp_path / "time", Ready.parse("stable:60"))
    write(by_time.root / "step-1", small_files() | {"STABLE": b"x"})
    by_time.look()
    assert by_time.look(59.0) == []
    assert len(by_time.look(2.0)) == 1


def test_rotation_takes_nothing_that_was_whole(tmp_path: Path) -> None:
    """Held as links, which take no space; let go once it is scored."""
    watched = Watched(tmp_path / "root")
    for step in (1, 2, 3, 4):
        for _ in trainer(watched.root / f"checkpoint-{step}"):
            pass
        watched.look()
        rotated(watched.root, keep=1)
    due = watched.look()
    assert [(one.name, one.step) for one in due] == [(f"checkpoint-{step}", step) for step in (1, 2, 3, 4)]
    assert (due[0].path / "model.safetensors").read_bytes() == small_files()["model.safetensors"]
    kept = watched.root / "checkpoint-4" / "model.safetensors"
    assert kept.stat().st_nlink == 2
    assert not any("went" in line for line in watched.said)
    for one in due:
        watched.done.add(one.name)
        watched.lookout.scored(one.name)
    assert not watched.holding.path.exists()
    assert kept.exists()


def test_no_more_are_held_than_that(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "root", wanted=Wanted(order="newest"))
    for step in range(HELD + 3):
        write(watched.root / f"step-{step}")
    assert watched.settle() == [f"step-{step}" for step in reversed(range(HELD + 3))]
    assert watched.holding.names() == [f"step-{step}" for step in range(3, HELD + 3)], "the first to be scored"


def test_the_next_watch_takes_over_what_a_killed_one_held(tmp_path: Path) -> None:
    first = Watched(tmp_path / "root")
    for step in (1, 2):
        write(first.root / f"step-{step}")
    assert len(first.settle()) == 2
    for step in (1, 2):
        shutil.rmtree(first.root / f"step-{step}")
    (first.holding.path / ".torn").mkdir()
    second = Watched(tmp_path / "root")
    second.done.add("step-1")
    second.lookout.adopt_held()
    assert [(one.name, one.step, one.path.exists()) for one in second.look()] == [("step-2", 2, True)]
    assert [entry.name for entry in second.holding.path.iterdir()] == ["step-2"]


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM])
def test_where_links_cannot_be_made_one_is_copied(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    watched = Watched(tmp_path / "root")
    for step in (1, 2):
        write(watched.root / f"step-{step}")
    assert watched.settle() == ["step-1", "step-2"]
    assert watched.holding.names() == ["step-1"], "one at a time: copies take space"
    assert [one.path.parent for one in watched.lookout.due()] == [watched.holding.path, watched.root]


def test_where_there_is_no_room_it_is_scored_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    watched = Watched(tmp_path / "root")
    write(watched.root / "step-1")
    assert watched.settle() == ["step-1"]
    assert watched.lookout.due()[0].path == watched.root / "step-1"
    assert "no room to copy step-1, of 0.0 GB" in watched.said[-1]
    watched.look()
    assert len(watched.said) == 2, "told once"


def test_what_is_abandoned_or_goes_is_told_once(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "root")
    torn = small_files()
    torn["model.safetensors"] = torn["model.safetensors"][:-10]
    write(watched.root / "step-1", torn)
    write(watched.root / "step-2", torn)
    assert watched.settle() == []
    assert watched.said == [], "it may still be written"
    write(watched.root / "step-3")
    for _ in range(3):
        watched.settle()
    shutil.rmtree(watched.root / "step-2")
    for _ in range(3):
        assert watched.settle() == ["step-3"]
    told = [line.partition(": ")[::2] for line in watched.said]
    assert [name for name, _ in told] == ["step-3", "step-1", "step-2", "step-2"]
    assert told[1][1].startswith("abandoned: step-3 is whole, and it still lacks model.safetensors: incomplete")
    assert told[3][1].startswith("went before it was scored; it lacked model.safetensors: incomplete")
    write(watched.root / "step-1")
    assert watched.settle() == ["step-1", "step-3"], "whole after all"


def test_what_failed_is_looked_at_again_once_it_has_changed(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "root")
    folder = write(watched.root / "step-1")
    assert watched.settle() == ["step-1"]
    watched.lookout.failed("step-1")
    assert watched.settle() == []
    assert watched.holding.names() == []
    (folder / "tokenizer.json").write_text("{}")
    assert watched.settle() == ["step-1"]


def test_a_trainers_folder_needs_a_conversion(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "root")
    for _ in WRITERS["dcp"](watched.root / "step-1"):
        pass
    assert watched.settle() == []
    assert "step-1: is a training folder of FSDP" in watched.said[0]
    assert "--convert runs such a command for every step" in watched.said[0]


@pytest.mark.parametrize(
    ("wanted", "due", "ends"),
    [
        (Wanted(), [0, 100, 150, 200, 300], False),
        (Wanted(every=100), [0, 100, 200, 300], False),
        (Wanted(steps=steps_of("150,300")), [150, 300], True),
        (Wanted(until=150), [0, 100, 150], True),
        (Wanted(until=250, every=100), [0, 100, 200], True),
        (Wanted(until=400), [0, 100, 150, 200, 300], False),
    ],
)
def test_which_steps(wanted: Wanted, due: list[int], ends: bool, tmp_path: Path) -> None:
    watched = Watched(tmp_path / "root", wanted=wanted)
    for step in (0, 100, 150, 200, 300):
        write(watched.root / f"step-{step}")
    write(watched.root / "tensorboard", {"events": b"x"})
    watched.settle()
    assert [one.step for one in watched.lookout.due()] == due
    assert watched.lookout.reached_the_end() == ends


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Wanted(every=0), "--every 0: must be at least 1"),
        (lambda: Wanted(every=2, steps=frozenset({1})), "--every: --steps says already"),
        (lambda: Wanted(order="oldes"), "did you mean oldest"),
        (lambda: steps_of("1,b"), "--steps 1,b: is not a list of steps"),
        (lambda: Ready.parse("stable:soon"), "--ready stable:soon: is not stable:SECONDS"),
        (lambda: Ready.parse("../DONE"), r"--ready ../DONE: names no file"),
    ],
)
def test_what_cannot_be_meant_is_said(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()


def test_what_changes_while_it_is_held_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path / "root")
    folder = write(watched.root / "step-1")
    link = os.link

    def changing(source: Path, target: Path) -> None:
        link(source, target)
        (folder / "late.json").write_text("{}")

    watched.look()
    monkeypatch.setattr(os, "link", changing)
    assert watched.look(SETTLED + 1) == []
    assert watched.holding.names() == []
    monkeypatch.setattr(os, "link", link)
    assert watched.settle() == ["step-1"]


def test_save_pretrained_settles_after_its_last_file(tmp_path: Path) -> None:
    """The processor comes after the weights, and nothing says that it will."""
    watched = Watched(tmp_path / "root")
    for _ in save_pretrained(watched.root / "step-1"):
        assert watched.look(SETTLED - 1) == []
    assert watched.look(SETTLED + 1) == []
    assert len(watched.look(SETTLED + 1)) == 1


def test_a_device_is_not_copied_and_a_circle_not_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of /dev/zero would end with the disk."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "no links here")

    monkeypatch.setattr(os, "link", refused)
    source = write(tmp_path / "root" / "step-1")
    (source / "circle").symlink_to(source)
    holding = Holding(tmp_path / "held")
    held = holding.hold(source, "step-1")
    assert held is not None
    assert sorted(file.name for file in held.iterdir()) == sorted(small_files())
    holding.release("step-1")
    (source / "zero").symlink_to("/dev/zero")
    with pytest.raises(ResultsError, match="zero: is no regular file"):
        holding.hold(source, "step-1")
    assert holding.names() == []
