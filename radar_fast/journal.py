"""The results file ``samples.jsonl``: one line a sample, only ever appended to.

A run can die at any moment (SIGKILL, full disk, power) and the same command goes on where it stopped. So each
call of :meth:`Journal.append` hands its lines to the operating system at once, nothing waits in a buffer of ours,
and opening cuts off what a dead writer left half-written at the end. Damage anywhere else is no torn write, and is
reported instead of repaired.

A line keeps everything that the summary and the exports need, token scores first: all other numbers in it can be
computed again from those.
"""

import contextlib
import fcntl
import json
import math
import os
import re
import secrets
import stat
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import orjson

from radar_fast.errors import ResultsError
from radar_fast.sample import Scored
from radar_fast.scores import judge

__all__ = ["Journal", "Record", "read_records", "record_of", "write_bytes_atomic", "write_json_atomic"]

Key = tuple[str, str]
TokenScores = tuple[tuple[float, ...], ...]

SYNC_SECONDS = 5.0  # what a power failure may cost; an fsync a call would cost more than the scoring on a network disk


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal. The fields are the line's keys; tuples are lists there."""

    id: str
    """The sample's id, unique within its task."""
    task: str
    """What the SDS is averaged over: the data file's name."""
    directory: str
    """The group of tasks it belongs to."""
    ability: str
    """``perception``, ``reasoning``, or a name given by the user."""
    status: Literal["scored", "unscored"]
    """``unscored`` is neither wrong nor zero."""
    reason: str | None
    """Why it is unscored: one line to read."""
    reason_kind: str | None
    """Why it is unscored: a :class:`~radar_fast.sample.ReasonKind` to count by."""
    candidates: tuple[str, ...]
    """The answer and its distractors, in the order in which they were scored."""
    answer: int | None
    """Index of the answer in ``candidates``; None where the data leave it unknown, never for a scored sample."""
    logits: TokenScores
    """Raw logits, one tuple a candidate, one fp32 value a token; empty when unscored."""
    logprobs: TokenScores
    """Log-probabilities of the same tokens (natural, never above 0); empty when unscored."""
    sds: float | None
    """Probability of the answer under the mean raw logits; None when unscored."""
    sds_logprob: float | None
    """The same under the mean log-probabilities."""
    correct: bool | None
    """Whether the answer has the highest mean raw logit; None when unscored."""
    correct_logprob: bool | None
    """The same under the mean log-probabilities."""
    tokens_computed: int
    """Token positions that the language model computed for it, padding counted."""
    tokens_minimal: int
    """Its prefix once and every answer token once."""
    seconds: float
    """Its share of the time its batch took to compute."""
    metadata: Mapping[str, str | int]
    """What exports need: ``question`` as published, ``index`` in its file, ``file``."""

    @property
    def key(self) -> Key:
        """(task, id): unique in a journal."""
        return self.task, self.id


def record_of(scored: Scored) -> Record:
    """The line for what an engine returned.

    Raises ResultsError for what no line can say: a score that is infinite or no number (JSON has none; an engine
    returns such a sample as unscored), or scores that do not match the sample's candidates.
    """
    sample = scored.sample
    reason = scored.reason or sample.reason
    logits: TokenScores = ()
    logprobs: TokenScores = ()
    sds = sds_logprob = correct = correct_logprob = None
    if reason is None:
        logits = tuple(tuple(map(float, candidate.logits)) for candidate in scored.candidates)
        logprobs = tuple(tuple(map(float, candidate.logprobs)) for candidate in scored.candidates)
        if problem := _problem_of_scores(sample.candidates, sample.answer, logits, logprobs):
            raise ResultsError(
                f"sample {sample.id!r} of task {sample.task!r}: {problem}. Nothing was written for it; the engine has "
                "to return such a sample as unscored, with a reason"
            )
        try:
            raw, normalised = judge(logits, sample.answer), judge(logprobs, sample.answer)
        except ValueError as error:
            raise ResultsError(f"sample {sample.id!r} of task {sample.task!r}: {error}") from error
        sds, correct = raw.probability, raw.correct
        sds_logprob, correct_logprob = normalised.probability, normalised.correct
    return Record(
        id=sample.id,
        task=sample.task,
        directory=sample.directory,
        ability=sample.ability,
        status="scored" if reason is None else "unscored",
        reason=None if reason is None else reason.detail,
        reason_kind=None if reason is None else reason.kind.value,
        candidates=sample.candidates,
        answer=sample.answer if 0 <= sample.answer < len(sample.candidates) else None,
        logits=logits,
        logprobs=logprobs,
        sds=sds,
        sds_logprob=sds_logprob,
        correct=correct,
        correct_logprob=correct_logprob,
        tokens_computed=int(scored.tokens_computed),
        tokens_minimal=int(scored.tokens_minimal),
        seconds=float(scored.seconds),
        metadata=sample.metadata,
    )


class Journal:
    """An open ``samples.jsonl``: what is in it, and a way to add to it. A context manager.

    One process at a time: the file is locked as long as it is open. Not for use from several threads at once.
    """

    path: Path
    """The file."""
    repaired_bytes: int
    """How much of a half-written end was cut off when it was opened; 0 for a file that was closed properly."""
    locked: bool
    """False where the file system has no locks (some network mounts): then nobody guards against a second writer."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the file, lock it, cut off a half-written end, and read which samples are in it.

        A last line without its newline counts as half-written, and so does any run of unreadable lines that no
        readable one follows. Raises ResultsError where the file cannot be opened or is locked by another process,
        where an unreadable line has readable ones after it, where a line is JSON but no record, where nothing in it
        looks like a line of ours, and where a sample is in it twice; the file is then left as it is.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            raise _cannot("open", path, error) from error
        try:
            return cls(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def __init__(self, path: Path, descriptor: int) -> None:
        """Use :meth:`open`. Takes over ``descriptor`` unless it raises."""
        self.path = path
        self.locked = _lock(path, descriptor)
        self._keys: dict[Key, None] = {}
        with os.fdopen(os.dup(descriptor), "rb") as file:
            scan = _Scan(path, file)
            self._keys.update((record.key, None) for record in scan)
            if not scan.good_bytes:
                _require_torn_start(path, file)
        try:
            self.repaired_bytes = os.fstat(descriptor).st_size - scan.good_bytes
            if self.repaired_bytes:
                os.ftruncate(descriptor, scan.good_bytes)
            os.fsync(descriptor)
            _sync_folder(path.parent)  # or a crash may lose the new file's name
        except OSError as error:
            raise _cannot("repair", path, error) from error
        self._synced = time.monotonic()
        self._descriptor: int | None = descriptor
        _open_journals.add(self)

    @property
    def done(self) -> Set[Key]:
        """(task, id) of every sample in the file, scored or unscored. A live view: it grows with each append."""
        return self._keys.keys()

    def append(self, records: Sequence[Record]) -> None:
        """Add a line a record, in one write: when this returns, they survive the death of this process.

        Raises ResultsError, with nothing written, for a sample that is there already and for a number that JSON
        has no word for. Raises ResultsError when the operating system refuses (disk full, quota, file size): the
        lines that made it whole are kept and the file is closed, readable and ready to be resumed.
        """
        if not records:
            return
        descriptor = self._require_open()
        data = b"".join(map(_line_of, records))
        claimed: dict[Key, None] = {}
        for record in records:
            if record.key in self._keys or record.key in claimed:
                raise ResultsError(
                    f"{self.path} already has sample {record.id!r} of task {record.task!r}; an id must be unique "
                    "within its task: look for it twice in the data"
                )
            claimed[record.key] = None
        # Claimed before they are written: an interrupt right after the write must not lead to a second one.
        self._keys.update(claimed)
        try:
            start = os.fstat(descriptor).st_size
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(descriptor, left) :]
            except BaseException:
                kept = self._cut_back(descriptor, start, data)
                for record in records[kept:]:
                    self._keys.pop(record.key, None)
                raise
        except OSError as error:
            self._release()
            raise ResultsError(
                f"cannot write to {self.path}: {error.strerror}. What is in it stays readable; once that is solved, "
                "the same command goes on from there"
            ) from error
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Have the disk confirm what was appended (it is otherwise asked every few seconds, and on close).

        Raises ResultsError where it does not.
        """
        try:
            os.fsync(self._require_open())
        except OSError as error:
            raise _cannot("save", self.path, error) from error
        self._synced = time.monotonic()

    def close(self) -> None:
        """Sync, unlock and close. Doing it twice is fine."""
        if self._descriptor is not None:
            try:
                self.sync()
            finally:
                self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            with contextlib.suppress(ResultsError):  # the error under way says more than a failing sync
                self.close()

    def _require_open(self) -> int:
        if self._descriptor is None:
            raise ResultsError(f"{self.path} is closed; open it again to add to it")
        return self._descriptor

    def _cut_back(self, descriptor: int, start: int, data: bytes) -> int:
        """Cut off what a failed write left of a line; how many whole lines of ``data`` remain."""
        # The file knows what was written even where an interrupt came between the write and its result.
        whole = data[: os.fstat(descriptor).st_size - start]
        whole = whole[: whole.rfind(b"\n") + 1]
        with contextlib.suppress(OSError):  # the next opening does it then
            os.ftruncate(descriptor, start + len(whole))
        return whole.count(b"\n")

    def _release(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def read_records(path: Path) -> Iterator[Record]:
    """The records of a journal in the order written, read as they are asked for; the file is not touched.

    A half-written end is passed over, so a journal that is being written can be read; what is appended after the
    first record was asked for is left out. Raises ResultsError as :meth:`Journal.open` does.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise _cannot("read", path, error) from error
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ResultsError(f"{path} is no regular file; name a result folder that a run has written")
        yield from _Scan(path, file)


def write_json_atomic(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON so that ``path`` holds either all of it or what was there before.

    Raises ResultsError where it cannot be written, or holds what JSON cannot say: as in orjson, but for NaN and
    infinity, which would silently become null.
    """
    if _has_non_finite(value):
        raise ResultsError(f"{path} was not written: it would hold a number that is infinite or no number")
    try:
        data = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # Lone surrogates and integers beyond 64 bits, which Python's json can write.
        try:
            data = json.dumps(value, indent=2, allow_nan=False).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise ResultsError(f"{path} was not written: {error}") from error
    write_bytes_atomic(path, data)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by a file of ``data`` in one step, after it has reached the disk. Raises ResultsError."""
    # A short name, so that it fits wherever the file's own does; in the same folder, as a rename needs.
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise _cannot("write", path, error) from error
    except ValueError as error:  # a NUL byte or a lone surrogate in the name
        raise ResultsError(f"cannot write {str(path)!r}: {error}") from error


class _Scan:
    """Iterates over the readable records of a file, up to where it ended when the iteration began."""

    good_bytes: int = 0
    """Where the last readable line ended, once iterated to the end."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file

    def __iter__(self) -> Iterator[Record]:
        seen: dict[Key, int] = {}
        broken: int | None = None
        try:
            # A writer may be at work: the end is where it is now. Beyond it, half a line could be read as a whole.
            end = os.fstat(self._file.fileno()).st_size
            offset = 0
            self._file.seek(0)
            for number, line in enumerate(self._file, 1):
                offset += len(line)
                try:
                    value = _parse(line)
                except (ValueError, RecursionError):
                    broken = broken or number
                else:
                    if broken:
                        raise ResultsError(
                            f"{self._path}, line {broken}: not readable as JSON, with readable lines after it, so no "
                            "write that was cut short: the file was damaged or edited. Remove that line to have the "
                            "sample scored again, or move the file away to start over"
                        )
                    record = _record_from(value, self._path, number)
                    if record.key in seen:
                        raise ResultsError(
                            f"{self._path}, lines {seen[record.key]} and {number}: both are sample {record.id!r} of "
                            f"task {record.task!r}. Remove one of the lines"
                        )
                    seen[record.key] = number
                    self.good_bytes = offset
                    yield record
                if offset >= end:
                    break
        except OSError as error:
            raise _cannot("read", self._path, error) from error


def _line_of(record: Record) -> bytes:
    where = f"sample {record.id!r} of task {record.task!r}"
    numbers = [record.seconds, record.sds, record.sds_logprob]
    tokens = (token for scores in (record.logits, record.logprobs) for candidate in scores for token in candidate)
    if not all(number is None or math.isfinite(number) for number in (*numbers, *tokens)):
        raise ResultsError(
            f"{where}: a score or time is infinite or no number, which JSON cannot hold; the engine has to return "
            "such a sample as unscored"
        )
    if not all(isinstance(value, str | int) for value in record.metadata.values()):
        raise ResultsError(f"{where}: metadata may hold text and whole numbers only, found {dict(record.metadata)}")
    value = {field.name: getattr(record, field.name) for field in fields(record)}
    value["metadata"] = dict(record.metadata)
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        pass  # a lone surrogate, or an integer beyond 64 bits: orjson takes neither, Python's json both
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if not _SPLIT_PAIR.search(text):
            text = json.dumps(value, allow_nan=False)
        return text.encode("utf-8", "surrogatepass") + b"\n"
    except (TypeError, ValueError) as error:
        raise ResultsError(f"{where} cannot be written as JSON: {error}") from error


# Two halves of a surrogate pair as two characters: as JSON escapes they would be read back as one character.
_SPLIT_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def _parse(line: bytes) -> object:
    """The line's JSON. Raises ValueError or RecursionError for a line that is cut short or no JSON."""
    if not line.endswith(b"\n"):
        raise ValueError("no newline at its end")
    # Not orjson: it refuses lone surrogates, and rounds integers beyond 64 bits.
    return json.loads(line.decode("utf-8", "surrogatepass"), parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _record_from(value: object, path: Path, number: int) -> Record:
    if not isinstance(value, dict):
        raise _foreign(path, number, "it is no object")
    arguments = {}
    for name, is_right in _CHECKS.items():
        if name not in value:
            raise _foreign(path, number, f"it has no {name!r}")
        if not is_right(value[name]):
            raise _foreign(path, number, f"{name!r} has the wrong type")
        arguments[name] = value[name]
    arguments["candidates"] = tuple(value["candidates"])
    for name in ("logits", "logprobs"):
        arguments[name] = tuple(tuple(map(float, tokens)) for tokens in value[name])
    record = Record(**arguments)
    if record.status == "scored":
        problem = _problem_of_scores(record.candidates, record.answer, record.logits, record.logprobs)
        if problem:
            raise _foreign(path, number, problem)
    return record


def _problem_of_scores(
    candidates: Sequence[str], answer: int | None, logits: TokenScores, logprobs: TokenScores
) -> str | None:
    """What keeps these from being the scores of those candidates."""
    if answer is None or not 0 <= answer < len(candidates):
        return f"answer {answer} is no index into its {len(candidates)} candidates"
    if not len(candidates) == len(logits) == len(logprobs):
        return f"{len(candidates)} candidates, but scores of {len(logits)} and {len(logprobs)}"
    for index, (raw, normalised) in enumerate(zip(logits, logprobs, strict=True)):
        if not raw or len(raw) != len(normalised):
            return f"candidate {index} has {len(raw)} logits and {len(normalised)} log-probabilities"
        if not all(map(math.isfinite, raw)) or not all(map(math.isfinite, normalised)):
            return f"candidate {index} has a score that is infinite or no number"
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_null(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_count(value: object) -> bool:
    return type(value) is int


def _is_number_or_null(value: object) -> bool:
    return value is None or type(value) in (int, float)


def _is_flag_or_null(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _is_token_scores(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(tokens, list) and all(type(token) in (int, float) for token in tokens) for tokens in value
    )


_CHECKS: dict[str, Callable[[object], bool]] = {
    "id": _is_text,
    "task": _is_text,
    "directory": _is_text,
    "ability": _is_text,
    "status": lambda value: value in ("scored", "unscored"),
    "reason": _is_text_or_null,
    "reason_kind": _is_text_or_null,
    "candidates": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "answer": lambda value: value is None or _is_count(value),
    "logits": _is_token_scores,
    "logprobs": _is_token_scores,
    "sds": _is_number_or_null,
    "sds_logprob": _is_number_or_null,
    "correct": _is_flag_or_null,
    "correct_logprob": _is_flag_or_null,
    "tokens_computed": _is_count,
    "tokens_minimal": _is_count,
    "seconds": lambda value: value is not None and _is_number_or_null(value),
    "metadata": lambda value: isinstance(value, dict) and all(isinstance(item, str | int) for item in value.values()),
}


def _foreign(path: Path, number: int, problem: str) -> ResultsError:
    return ResultsError(
        f"{path}, line {number}: JSON, but no record of this version of radar-fast: {problem}. Move the file away, or "
        "name another result folder"
    )


def _cannot(verb: str, path: Path, error: OSError) -> ResultsError:
    return ResultsError(f"cannot {verb} {path}: {error.strerror}. Check the folder, its permissions and the disk")


def _lock(path: Path, descriptor: int) -> bool:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise ResultsError(f"{path} is no regular file; name another result folder")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ResultsError(
            f"another process is writing to {path}; wait for it to end, or name another result folder"
        ) from error
    except OSError:
        return False  # no locks on this file system: rare, and no reason to refuse the user's only shared disk
    return True


def _require_torn_start(path: Path, file: BinaryIO) -> None:
    """Refuse to cut a file to nothing that can be no half-written first line: it is somebody else's."""
    file.seek(0)
    start = file.read(1 << 16).lstrip(b"\0")
    if start and not start.startswith(b"{"):
        raise ResultsError(f"{path} holds something else than results; move it away, or name another result folder")


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some network file systems cannot; they order renames by themselves
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _has_non_finite(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_non_finite, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_non_finite, value))
    return isinstance(value, float) and not math.isfinite(value)


# A lock belongs to all processes that hold the descriptor. Worker processes that are forked while a journal is open
# would keep it locked after its writer was killed, so they let go of it.
_open_journals: "weakref.WeakSet[Journal]" = weakref.WeakSet()


def _let_go() -> None:
    for journal in list(_open_journals):
        journal._release()


os.register_at_fork(after_in_child=_let_go)
