"""What is made of several result folders: merged shards, a farm's state, growth, reports, gates, exports."""

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import attack_mutations as mutations
from attack_frame import Attack, MismatchError
from attack_places import command, twist, twisted_tree
from attack_results import _record

from radar_fast.errors import RadarError
from radar_fast.farm.state import EngineState, FarmState, write_state
from radar_fast.farm.status import status_of
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import Journal, read_records
from radar_fast.results.merge import folders_with_shards, merge_shards
from radar_fast.results.record import Record, line_of, record_of
from radar_fast.run import summarize
from radar_fast.sample import Candidate, EmbeddedImage, Reason, ReasonKind, Sample, Scored
from radar_fast.util.codec import encode

__all__ = ["ATTACKS"]

_IDENTITY = {"version": 2, "protocol": {"name": "qwen2vl", "version": 1}, "engine": {"name": "fake", "dtype": "none"}}


def _claimed(path: Path, records: list[Record], total: int, shard: dict[str, int] | None, model: str) -> ResultFolder:
    folder = ResultFolder(path)
    folder.make()
    data = {"format": "jsonl", "samples": total, "sha256": "0" * 64}
    with Journal.open(folder.samples) as journal:
        folder.claim({**_IDENTITY, "data": data}, {"model": model, "data": "/data/x"}, empty=True, shard=shard)
        journal.append(records)
    summarize(folder.path)
    return folder


# Shards --------------------------------------------------------------------------------------------------------------


def _shards(rng: random.Random, out: Path) -> list[Path]:
    records = [_record(rng, number) for number in range(rng.randint(2, 9))]
    count = rng.randint(1, 3)
    found = []
    for index in range(count):
        mine, place = records[index::count], out / f"shard-{index:05}-of-{count:05}"
        shard = {"index": index, "count": count, "samples": len(mine)}
        found.append(_claimed(place, mine, len(records), shard, "/ckpt/step-1").path)
    return found


def _merge(out: Path, *, partial: bool) -> None:
    """Merge, twice; what the shards hold is in the result, once."""
    for folder in folders_with_shards(out):
        merge_shards(folder, partial=partial)
        summary = summarize(folder)
        there = [record.key for record in read_records(folder / "samples.jsonl")]
        wanted = {
            record.key
            for place in folder.glob("shard-*")
            if place.is_dir()
            for record in read_records(place / "samples.jsonl")
        }
        if len(there) != len(set(there)) or not wanted <= set(there):
            raise MismatchError(f"{len(wanted)} in shards, {len(there)} merged")
        if summary.overall.scored + summary.overall.unscored != len(there):
            raise MismatchError(f"{len(there)} merged, others counted")
        if again := merge_shards(folder, partial=partial).fresh:
            raise MismatchError(f"{again} more when merged again")


def _looked_at(out: Path, *, partial: bool) -> None:
    refused: RadarError | None = None
    uses: tuple[Callable[[], None], ...] = (
        lambda: _merge(out, partial=partial),
        lambda: command("status", out),
        lambda: command("merge", out),
    )
    for use in uses:
        try:
            use()
        except RadarError as error:
            refused = error
    if refused is not None:
        raise refused


def shard_files(rng: random.Random, path: Path) -> None:
    """A shard's run.json or journal with values that nobody means, or damaged bytes."""
    shards = _shards(rng, path / "out")
    file = rng.choice(shards) / rng.choice(["run.json", "run.json", "samples.jsonl"])
    data = file.read_bytes()
    if rng.random() < 0.4:
        data = mutations.mutated_bytes(rng, data)
    elif file.name == "run.json":
        data = json.dumps(mutations.mutated_json(rng, json.loads(data))).encode()
    else:
        line = line_of(_record(rng, rng.randrange(9)))
        data = rng.choice([data + line, line, data + data])
    file.write_bytes(data)
    _looked_at(path / "out", partial=rng.random() < 0.5)


def shard_folders(rng: random.Random, path: Path) -> None:
    """Pipes, devices, links, folders and strangers among shards, and in the folder that they are merged into."""
    out = path / "out"
    shards = _shards(rng, out)
    how = rng.randrange(4)
    if how == 0:  # one shard under two names
        other = out / "shard-00009-of-00010"
        other.symlink_to(rng.choice(shards))
    elif how == 1:
        for name in ("run.json", "samples.jsonl", "summary.json"):
            if rng.random() < 0.5:
                twist(rng, out / name)
    elif how == 2:
        deep = out
        for _ in range(rng.choice([3, 40])):
            deep = deep / "d"
        deep.mkdir(parents=True)
        _shards(rng, deep)
    twisted_tree(rng, out)
    _looked_at(out, partial=rng.random() < 0.5)


# A farm's state ------------------------------------------------------------------------------------------------------


def farm_state(rng: random.Random, path: Path) -> None:
    """farm.json with values that nobody means, damaged bytes, or something else in its place."""
    out = path / "out"
    out.mkdir()
    engine = EngineState(0, "scoring", "node", 4711, "step-1", 12, 0, "/log")
    write_state(out, FarmState("running", 1, "node", 1e9, 1e9, 2, 1, 0, 99, 12, 12, 3.5, (engine, engine)))
    if rng.random() < 0.5:
        _claimed(out / "step-1", [_record(rng, 1)], 9, None, "/ckpt/step-1")
    file = out / "farm.json"
    how = rng.random()
    if how < 0.2:
        twist(rng, file)
    elif how < 0.5:
        file.write_bytes(mutations.mutated_bytes(rng, file.read_bytes()))
    else:
        file.write_text(json.dumps(mutations.mutated_json(rng, json.loads(file.read_bytes()))))
    status = status_of(out)
    encode(status.to_dict())
    command("status", out)
    command("status", out, "--json")


# A series ------------------------------------------------------------------------------------------------------------


def _series(rng: random.Random, out: Path, data: Path) -> list[ResultFolder]:
    """Three checkpoints on six samples with pictures; the benchmark itself lies in ``data``."""
    data.mkdir(exist_ok=True)
    found = []
    for step in (1, 20, 300):
        records = []
        for number in range(6):
            parts = (EmbeddedImage(f"{number}.png", b""), f"What is {number}?")
            sample = Sample(
                f"q{number}", f"task{number % 2}", "directory", "reasoning", parts, ("cat", "dog"), 0, {"question": "?"}
            )
            if rng.random() < 0.1:
                records.append(record_of(Scored(sample, reason=Reason(ReasonKind.TOO_LONG, "too long"))))
                continue
            scores = [tuple(-rng.random() * 9 for _ in range(2)) for _ in range(2)]
            candidates = tuple(Candidate(each, each) for each in scores)
            records.append(record_of(Scored(sample, candidates, None, 34, 30, 0.2)))
        found.append(_claimed(out / f"step-{step}", records, 6, None, f"/ckpt/step-{step}"))
    return found


_POLICY = '[[rules]]\nat_least = -0.1\n[[rules]]\nsection = "tasks"\nmeasure = "accuracy"\nat_least = 0.0\n'


def _all_that_reads(rng: random.Random, path: Path, out: Path) -> None:
    (path / "policy.toml").write_text(_POLICY)
    first, second = out / "step-1", out / "step-20"
    refused: RadarError | None = None
    for words in (
        ("growth", out, "--json", path / "growth.json"),
        ("report", out, "--out", path / "report.html"),
        ("gate", first, second, "--policy", path / "policy.toml"),
        ("compare", first, second),
        ("status", out, "--json"),
        ("export", out, "--to", "every-eval-ever", "--out", path / "export"),
    ):
        if rng.random() < 0.5:
            continue
        try:
            command(*words)
        except RadarError as error:
            refused = error
    if refused is not None:
        raise refused


def series_files(rng: random.Random, path: Path) -> None:
    """One run of a series: its manifest, journal or summary with values that no run writes, or damaged bytes."""
    folder = rng.choice(_series(rng, path / "out", path / "data"))
    file = rng.choice([folder.run, folder.run, folder.samples, folder.samples, folder.summary])
    data = file.read_bytes()
    if rng.random() < 0.4:
        data = mutations.mutated_bytes(rng, data)
    elif file == folder.samples:
        lines = data.splitlines()
        place = rng.randrange(len(lines))
        lines[place] = json.dumps(mutations.mutated_json(rng, json.loads(lines[place]))).encode()
        data = b"\n".join(lines) + b"\n"
    else:
        data = json.dumps(mutations.mutated_json(rng, json.loads(data))).encode()
    file.write_bytes(data)
    _all_that_reads(rng, path, path / "out")


def series_folders(rng: random.Random, path: Path) -> None:
    """Pipes, devices, links, folders and strangers in a series."""
    _series(rng, path / "out", path / "data")
    twisted_tree(rng, path / "out")
    _all_that_reads(rng, path, path / "out")


def series_pictures(rng: random.Random, path: Path) -> None:
    """A report whose run.json names whatever it likes as the benchmark: nothing beyond pictures leaves it."""
    folders = _series(rng, path / "out", path / "data")
    secret = path / "secret"
    secret.mkdir()
    (secret / "key.jsonl").write_text('{"question": "TOPSECRET", "answer": "a", "options": ["a", "b"]}\n')
    named = rng.choice(
        [*map(str, (secret, secret / "key.jsonl", path / "data")), "/proc", "/dev", "/", "\0", "x" * 5000, ""]
    )
    for folder in folders:
        document = json.loads(folder.run.read_bytes())
        document["configuration"]["data"] = named
        document["configuration"]["format"] = rng.choice(["auto", "jsonl", "x", None, 7])
        folder.run.write_text(json.dumps(document))
    command("report", path / "out", "--out", path / "report.html")
    if b"TOPSECRET" in (path / "report.html").read_bytes():
        raise MismatchError("a text of a file that run.json names is in the page")


# Policies and configurations -----------------------------------------------------------------------------------------


@cache
def _kept() -> dict[str, Any]:
    return {
        "confidence": 0.9,
        "partial": True,
        "rules": [{"section": "tasks", "name": "task*", "measure": "sds", "at_least": -0.1}, {"at_least": 0.0}],
    }


_CONFIG: dict[str, Any] = {
    "engine": "fake",
    "batch-tokens": 4096,
    "engine_arg": {"max_num_seqs": 4, "enforce_eager": True},
    "field": ["question=prompt"],
    "limit": 0.5,
    "no-resume": False,
}

_ODD_TOML: tuple[str, ...] = (
    "a = 0x" + "f" * 5000,
    "limit = 0x" + "f" * 5000,
    "engine-arg = {a = 0x" + "f" * 5000 + "}",
    "confidence = inf\n[[rules]]\nat_least = 0",
    "confidence = nan\n[[rules]]\nat_least = 0",
    "confidence = 5e-324\n[[rules]]\nat_least = 0",
    "confidence = 0.9999999999999999\n[[rules]]\nat_least = 0",
    "[[rules]]\nat_least = nan",
    "[[rules]]\nat_least = 0x" + "f" * 300,
    '[[rules]]\nat_least = 0\nname = "' + "*a" * 5000 + '"',
    '[[rules]]\nat_least = 0\nname = "[' + "!-" * 500 + '"',
    '[[rules]]\nat_least = 0\nname = "\\u0000\\u001b[31m"',
    "[[rules]]\nat_least = 0\n" * 20_000,
    '"a\\nb" = 1',
    '"" = 1',
    "limit = 1979-05-27T07:32:00Z",
    "engine = [" + "1," * 100_000 + "]",
    "x = " + "[" * 500 + "]" * 500,
    "a." * 200 + "b = 1",
    "limit = inf",
    "device = nan",
    "workers = -9223372036854775809",
    'out = "\\u0000"',
    'out = "' + "x" * 5000 + '"',
    'model = "\\u001b[31m"',
    'engine-arg = {"a\\nb" = "c\\u0000"}',
    'engine-arg = {"" = ""}',
    "field = {a = 1, b = [2]}",
)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def _written(rng: random.Random, file: Path, value: dict[str, Any]) -> Path:
    """A TOML file with values that nobody means, damaged bytes, or something else in its place."""
    how = rng.random()
    if how < 0.1:
        twist(rng, file)
    elif how < 0.4:
        file.write_text(rng.choice(_ODD_TOML))
    else:
        value = mutations.mutated_json(rng, value) if how < 0.8 else value
        if not isinstance(value, dict):
            value = {"x": value}
        text = "\n".join(f"{json.dumps(name)} = {_toml(each)}" for name, each in value.items())
        data = text.encode("utf-8", "surrogatepass")
        file.write_bytes(data if how < 0.8 else mutations.mutated_bytes(rng, data or b"x"))
    return file


def policies(rng: random.Random, path: Path) -> None:
    """A gate's policy."""
    _series(rng, path / "out", path / "data")
    policy = _written(rng, path / "policy.toml", _kept())
    command("gate", path / "out" / "step-1", path / "out" / "step-20", "--policy", policy, "--json", path / "gate.json")


def configurations(rng: random.Random, path: Path) -> None:
    """A file of options: printed, and used."""
    config = _written(rng, path / "config.toml", _CONFIG)
    (path / "data").mkdir()
    (path / "data" / "a.jsonl").write_text('{"question": "?", "answer": "a", "options": ["a", "b"]}\n')
    command("score", "--config", config, "--print-config")
    words = ("--engine", "fake", "--data", path / "data", "--out", path / "out")
    command("score", "--config", config, *words)


def _prepare() -> None:
    import matplotlib.pyplot  # noqa: F401 - what commands load is not the first attempt's
    import torch  # noqa: F401

    import radar_fast.engines.fake
    import radar_fast.report.build  # noqa: F401


def _attack(name: str, attempt: Callable[[random.Random, Path], None]) -> Attack:
    return Attack(name, attempt, (RadarError,), _prepare)


ATTACKS: tuple[Attack, ...] = (
    _attack("shards, files", shard_files),
    _attack("shards, folders", shard_folders),
    _attack("farm.json", farm_state),
    _attack("series, files", series_files),
    _attack("series, folders", series_folders),
    _attack("series, pictures", series_pictures),
    _attack("policies", policies),
    _attack("configurations", configurations),
)
