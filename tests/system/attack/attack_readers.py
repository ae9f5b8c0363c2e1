"""Benchmarks: every format with damaged bytes, with values that nobody means, and in folders that hold odd things.

Each is scored from end to end, by the engine that hashes: as many samples must be in the summary as records are in the
data, wherever that can be told without a reader of ours.
"""

import csv
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attack_mutations as mutations
from attack_frame import Attack, MismatchError
from attack_images import picture
from published_data import MATHVERSE, PGPS9K

from radar_fast import RunConfig, run
from radar_fast.errors import RadarError
from radar_fast.inspection import inspect_samples
from radar_fast.oddities import OddCounter
from radar_fast.readers import open_reader
from radar_fast.results.journal import read_records
from radar_fast.sample import ImageFile

__all__ = ["ATTACKS"]

_RECORD = {
    "id": "1",
    "question": "What is <image>?",
    "image": "images/a.png",
    "options": ["cat", "dog"],
    "answer": "cat",
}
_OTHER = {"question": "Which?", "distractors": ["x", "y"], "answer": "z", "hint": "Look.", "image": ["images/a.png"]}
_M3 = {"question": "What is it?", "answer": "cat", "distraction": ["dog", "cow"]}
_ROW = {
    "index": "1",
    "question": "What?",
    "image": "",
    "A": "cat",
    "B": "dog",
    "answer": "B",
    "hint": "",
    "category": "x",
}
_CLASSES = {
    "question": "What is broken?",
    "graded": True,
    "split_at": 1,
    "classes": {"none": "nothing", "arm": "an arm"},
}
_FIELDS = {
    "fields": {"question": "query", "options": ["A", "B"], "answer_letter": "answer", "image": False},
    "metadata": {"group": "g"},
    "image_folders": ["images"],
    "only": {"type": ["mc"]},
}


def _written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _score(path: Path, wanted: int | None, **options: Any) -> None:
    """Read, look at, and score what is in ``path/data``; ``wanted`` samples, where that is known."""
    data = path / "data"
    named = {name: value for name, value in options.items() if name in ("format", "fields_file", "classes", "preset")}
    refused: RadarError | None = None
    reports = {}
    try:
        reader = open_reader(data, **named)
        for sample in reader:
            for part in sample.parts:
                if isinstance(part, ImageFile) and not _inside(part.path, data):
                    raise MismatchError(f"{part.path} lies outside")
            if sample.reason is not None and not sample.reason.detail.isprintable():
                raise MismatchError(f"no line: {sample.reason.detail!a}")
        reports = inspect_samples(reader, OddCounter())
    except RadarError as error:
        refused = error
    try:
        summary = run.score(RunConfig(data=data, out=path / "results", engine="fake", **options))
    except RadarError as error:
        raise error from refused
    if refused is not None:
        raise MismatchError(f"scored, but not looked at: {refused}")
    seen = sum(report.samples for report in reports.values())
    counted = summary.overall.scored + summary.overall.unscored
    kept = sum(1 for _ in read_records(path / "results" / "samples.jsonl"))
    if not seen == counted == kept or (wanted is not None and seen != wanted):
        raise MismatchError(f"{wanted} records, {seen} read, {counted} counted, {kept} kept")


def _inside(file: Path, data: Path) -> bool:
    return os.path.realpath(file).startswith(os.path.realpath(data) + "/")


# Formats: what is in the file, and how many samples it makes ---------------------------------------------------------


def _lines(rng: random.Random) -> Any:
    return [{**rng.choice([_RECORD, _OTHER]), "id": str(number)} for number in range(rng.randint(1, 8))]


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def _as_lines(value: Any) -> bytes:
    return b"".join(_dumped(line) + b"\n" for line in value) if isinstance(value, list) else _dumped(value)


def _of_list(value: Any) -> int | None:
    return len(value) if isinstance(value, list) else None


def _of_object(value: Any) -> int | None:
    return len(value) if isinstance(value, dict) else None


def _twice(value: Any) -> int | None:
    return 2 * len(value) if isinstance(value, dict) else None


_Format = tuple[str, str, Callable[[random.Random], Any], Callable[[Any], bytes], Callable[[Any], int | None]]
_JSON: dict[str, _Format] = {
    "jsonl": ("jsonl", "a.jsonl", _lines, _as_lines, lambda _: None),
    "json list": ("jsonl", "a.json", _lines, _dumped, lambda _: None),
    "json object": (
        "jsonl", "a.json", lambda rng: {f"q{number}": each for number, each in enumerate(_lines(rng))}, _dumped,
        lambda _: None,
    ),
    "m3": (
        "m3", "mathematical_reasoning/MathVista_2_pretrained_mllm_eval.json",
        lambda rng: {str(number): dict(_M3) for number in range(rng.randint(1, 6))}, _dumped, _of_object,
    ),
    "pgps9k": (
        "pgps9k", "test.json", lambda rng: {f"prob_{number}": dict(PGPS9K) for number in range(rng.randint(1, 4))},
        _dumped, _twice,
    ),
    "mathverse": (
        "mathverse", "testmini.json",
        lambda rng: [{**MATHVERSE, "sample_index": str(number)} for number in range(rng.randint(1, 5))], _dumped,
        _of_list,
    ),
}  # fmt: skip


def _pictures(rng: random.Random, data: Path) -> None:
    for name in ("images/a.png", "images_version_1-4/image_1.png", "Diagram_Visual/img_7.png"):
        _written(data / name, picture(rng, rng.choice(["PNG", "JPEG"])))


def _values(name: str) -> Callable[[random.Random, Path], None]:
    form, file, make, dumped, count = _JSON[name]

    def attempt(rng: random.Random, path: Path) -> None:
        value = mutations.mutated_json(rng, make(rng))
        _pictures(rng, path / "data")
        _written(path / "data" / file, dumped(value))
        _score(path, count(value), format=form)

    return attempt


def _bytes(name: str) -> Callable[[random.Random, Path], None]:
    form, file, make, dumped, _ = _JSON[name]

    def attempt(rng: random.Random, path: Path) -> None:
        _pictures(rng, path / "data")
        _written(path / "data" / file, mutations.mutated_bytes(rng, dumped(make(rng))))
        _score(path, None, format=rng.choice([form, "auto"]))

    return attempt


def lines_odd(rng: random.Random, path: Path) -> None:
    """JSON lines of which some are no records: each line that is not blank is a sample."""
    lines = [_dumped(line) for line in _lines(rng)]
    for _ in range(rng.randint(1, 3)):
        odd = rng.choice([_dumped(mutations.nasty(rng)), b"{", b"\xff", b"[" * 3000, b"NaN", b'"\\ud800"', b"7" * 5000])
        lines.insert(rng.randint(1, len(lines)), odd.replace(b"\n", b" "))
    _pictures(rng, path / "data")
    _written(path / "data" / "a.jsonl", b"\n".join([*lines, _dumped(_RECORD)]))
    _score(path, len(lines) + 1, format="jsonl")


# Tables --------------------------------------------------------------------------------------------------------------


def _table(rng: random.Random) -> list[dict[str, str]]:
    import base64

    rows = [{**_ROW, "index": str(number)} for number in range(rng.randint(1, 6))]
    rows[0]["image"] = base64.b64encode(picture(rng, "PNG")).decode()
    return rows


def _tsv(rows: list[dict[str, str]]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter="\t", lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row.get(name, "") for name in names] for row in rows)
    return buffer.getvalue().encode("utf-8", "surrogatepass")


def table_values(rng: random.Random, path: Path) -> None:
    """Cells and columns that nobody means."""
    rows = _table(rng)
    for _ in range(rng.choice([1, 1, 3])):
        row = rng.choice(rows)
        value = mutations.nasty(rng)
        text = value if isinstance(value, str) else json.dumps(value)
        if rng.random() < 0.8:
            row[rng.choice(sorted(row))] = text
        else:
            row[text] = "x"
    _written(path / "data" / "a.tsv", _tsv(rows))
    _score(path, len(rows) if all(name.isprintable() for row in rows for name in row) else None, format="vlmevalkit")


def table_bytes(rng: random.Random, path: Path) -> None:
    """Damaged bytes."""
    _written(path / "data" / "a.tsv", mutations.mutated_bytes(rng, _tsv(_table(rng))))
    _score(path, None, format=rng.choice(["vlmevalkit", "auto"]))


def _column(rng: random.Random, rows: int) -> Any:
    """A column of a type that nobody expects."""
    import pyarrow as pa

    makers: list[Callable[[], Any]] = [
        lambda: pa.nulls(rows),
        lambda: pa.array([rng.choice([0, -1, 2**63 - 1]) for _ in range(rows)]),
        lambda: pa.array([rng.choice([0.5, float("nan"), float("inf")]) for _ in range(rows)]),
        lambda: pa.array([rng.choice([True, None]) for _ in range(rows)]),
        lambda: pa.array([rng.choice(["", "a", "\0", "x" * 5000, None]) for _ in range(rows)]),
        lambda: pa.array([rng.randbytes(9) for _ in range(rows)]),
        lambda: pa.array([["a", rng.choice(["b", "a", "", None])] for _ in range(rows)]),
        lambda: pa.array([[["a"], []] for _ in range(rows)]),
        lambda: pa.array([[] for _ in range(rows)], pa.list_(pa.string())),
        lambda: pa.array([{"bytes": rng.randbytes(5), "path": rng.choice([None, "../x", "/etc/passwd"])}] * rows),
        lambda: pa.array([{"bytes": None, "path": rng.choice(["\0", "a" * 300, "images/a.png"])}] * rows),
        lambda: pa.array([10**17] * rows, pa.timestamp("ns")),
        lambda: pa.array([2**50] * rows, pa.timestamp("ms")),
        lambda: pa.array([-(2**30)] * rows, pa.date32()),
        lambda: pa.array(["a"] * rows).dictionary_encode(),
        lambda: pa.array([[("k", "v")]] * rows, pa.map_(pa.string(), pa.string())),
        lambda: pa.array([b"\xff\xfe"] * rows, pa.binary()).view(pa.string()),
        lambda: pa.array([[rng.choice(["a", "b"])] * 3000] * rows),
    ]
    return rng.choice(makers)()


def _parquet(rng: random.Random, *, odd: bool) -> tuple[bytes, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = rng.randint(1, 40)
    columns: dict[str, Any] = {
        "question": pa.array([f"Which {number}?" for number in range(rows)]),
        "options": pa.array([["a", "b"]] * rows),
        "answer": pa.array(["a"] * rows),
        "image": pa.array([{"bytes": picture(rng, "PNG"), "path": None}] * rows),
    }
    for _ in range(rng.choice([1, 1, 2]) if odd else 0):
        columns[rng.choice([*columns, "id", "task", "hint", "distractors"])] = _column(rng, rows)
    buffer = io.BytesIO()
    pq.write_table(
        pa.table(columns),
        buffer,
        row_group_size=rng.choice([3, 1000]),
        compression=rng.choice(["snappy", "zstd", "none"]),
    )
    return buffer.getvalue(), rows


def parquet_values(rng: random.Random, path: Path) -> None:
    """Columns of types that nobody expects."""
    data, rows = _parquet(rng, odd=True)
    _written(path / "data" / "a.parquet", data)
    _score(path, rows, format="parquet")


def parquet_bytes(rng: random.Random, path: Path) -> None:
    """Damaged bytes, of the footer above all."""
    data, _ = _parquet(rng, odd=False)
    if rng.random() < 0.5:
        size = int.from_bytes(data[-8:-4], "little")
        footer = mutations.mutated_bytes(rng, data[-8 - size : -8])
        data = data[: -8 - size] + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    else:
        data = mutations.mutated_bytes(rng, data)
    _written(path / "data" / "a.parquet", data)
    _score(path, None, format=rng.choice(["parquet", "auto"]))


# What users write in TOML --------------------------------------------------------------------------------------------


def _toml(value: dict[str, Any]) -> bytes:
    plain = {name: each for name, each in value.items() if not isinstance(each, dict)}
    tables = {name: each for name, each in value.items() if isinstance(each, dict)}
    lines = [f"{json.dumps(name)} = {json.dumps(each)}" for name, each in plain.items()]
    for name, each in tables.items():
        lines += [f"[{json.dumps(name)}]", *(f"{json.dumps(key)} = {json.dumps(inner)}" for key, inner in each.items())]
    return "\n".join(lines).encode() + b"\n"


def _said(rng: random.Random, value: dict[str, Any]) -> bytes:
    if rng.random() < 0.5:
        changed = mutations.mutated_json(rng, value)
        return _toml(changed) if isinstance(changed, dict) else _dumped(changed)
    return mutations.mutated_bytes(rng, _toml(value))


def classes(rng: random.Random, path: Path) -> None:
    """A folder a class, and a file that says what they are called."""
    data = path / "data"
    folders = ["none", "arm", "leg"][: rng.randint(2, 3)]
    files = [f"{folder}/{number}.png" for folder in folders for number in range(rng.randint(1, 3))]
    for file in files:
        _written(data / file, picture(rng, "PNG"))
    _written(data / "classes.toml", _said(rng, _CLASSES))
    _score(path, len(files), format="folder")


def layouts(rng: random.Random, path: Path) -> None:
    """A file that says which field is what."""
    lines = [
        {"query": "What?", "A": "cat", "B": "dog", "answer": "A", "type": "mc", "g": number} for number in range(4)
    ]
    _written(path / "data" / "a.jsonl", _as_lines(lines))
    _written(path / "fields.toml", _said(rng, _FIELDS))
    _score(path, None, format="jsonl", fields_file=path / "fields.toml")


# Odd folders ---------------------------------------------------------------------------------------------------------


def _filled(rng: random.Random, data: Path) -> list[Path]:
    """A folder of one of the formats, or of two; its annotation files."""
    _pictures(rng, data)
    files = []
    for name in rng.sample([*_JSON, "tsv", "parquet", "folder"], rng.choice([1, 1, 1, 2])):
        if name == "tsv":
            files.append(_written(data / "a.tsv", _tsv(_table(rng))))
        elif name == "parquet":
            files.append(_written(data / "a.parquet", _parquet(rng, odd=False)[0]))
        elif name == "folder":
            _written(data / "arm" / "1.png", picture(rng, "PNG"))
            files.append(_written(data / "classes.toml", _toml(_CLASSES)))
        else:
            _, file, make, dumped, _ = _JSON[name]
            files.append(_written(data / file, dumped(make(rng))))
    return files


def _twist(rng: random.Random, file: Path, outside: Path) -> None:
    """Something else stands where a file was, or beside it."""
    how = rng.randrange(12)
    if how >= 6:
        file.unlink(missing_ok=True)
    if how == 0:
        file.with_name(f"{'n' * 240}{file.suffix}").write_bytes(file.read_bytes())
    elif how == 1:
        Path(os.fsdecode(os.fsencode(file.parent) + b"/\xff\xfe" + os.fsencode(file.suffix))).write_bytes(b"{}")
    elif how == 2:
        (file.parent / f"line\nbreak{file.suffix}").write_bytes(file.read_bytes())
    elif how == 3:
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    elif how == 4:
        deep = file.parent
        for _ in range(rng.choice([3, 60])):
            deep = deep / "d"
        _written(deep / file.name, file.read_bytes())
    elif how == 5:
        file.with_name(f"copy{file.suffix}").write_bytes(file.read_bytes())
    elif how == 6:
        os.mkfifo(file)
    elif how == 7:
        file.mkdir()
    elif how == 8:
        file.symlink_to(outside / rng.choice(["secret.png", "secret.jsonl", "none"]))
    elif how == 9:
        file.symlink_to(rng.choice([file, Path("/dev/zero"), Path("/dev/stdin"), Path("/proc/self/mem"), file.parent]))
    elif how == 10:
        file.write_bytes(b"")
    else:
        file.write_bytes(rng.randbytes(rng.choice([1, 100, 100_000])))


def folders(rng: random.Random, path: Path) -> None:
    """Pipes, devices, links, odd names and strangers among the files; nothing outside the folder is read."""
    data, outside = path / "data", path / "outside"
    _written(outside / "secret.png", picture(rng, "PNG"))
    _written(outside / "secret.jsonl", _as_lines([_RECORD]))
    files = _filled(rng, data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        file = rng.choice([*files, data / "images" / "a.png", data / "arm" / "1.png", data / "arm"])
        if file.is_file() and not file.is_symlink():
            _twist(rng, file, outside)
    _score(path, None, format="auto")


def _import() -> None:
    import pyarrow.parquet  # noqa: F401

    import radar_fast.engines.fake  # noqa: F401


def _attack(name: str, attempt: Callable[[random.Random, Path], None]) -> Attack:
    return Attack(name, attempt, (RadarError,), _import)


ATTACKS: tuple[Attack, ...] = (
    *(_attack(f"{name}, values", _values(name)) for name in _JSON),
    *(_attack(f"{name}, bytes", _bytes(name)) for name in _JSON),
    _attack("jsonl, odd lines", lines_odd),
    _attack("tsv, values", table_values),
    _attack("tsv, bytes", table_bytes),
    _attack("parquet, values", parquet_values),
    _attack("parquet, bytes", parquet_bytes),
    _attack("classes.toml", classes),
    _attack("fields.toml", layouts),
    _attack("folders", folders),
)
