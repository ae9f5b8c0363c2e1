"""Result folders that come from elsewhere, or are damaged."""

import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import attack_mutations as mutations
from attack_frame import Attack, MismatchError

from radar_fast import run
from radar_fast.errors import RadarError
from radar_fast.results.comparison import compare
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import Journal, read_records
from radar_fast.results.record import Record, line_of, record_of
from radar_fast.sample import Candidate, Reason, ReasonKind, Sample, Scored

__all__ = ["ATTACKS"]


def _record(rng: random.Random, number: int) -> Record:
    texts = rng.sample(["cat", "dög", "鳥", "a red fox", "\udcff", "B"], rng.randint(2, 4))
    sample = Sample(
        f"q{number}", rng.choice(["task", "MMBench_x"]), "directory", "reasoning", ("What?",), tuple(texts), 0,
        {"question": "What?", "index": number, "group": number // 2, "class": texts[0], "version": "full"},
    )  # fmt: skip
    if rng.random() < 0.3:
        return record_of(Scored(sample, reason=Reason(rng.choice(list(ReasonKind)), "why")))
    scores = [tuple(-rng.random() * 9 for _ in range(rng.randint(1, 3))) for _ in texts]
    return record_of(Scored(sample, tuple(Candidate(each, each) for each in scores), None, 34, 30, 0.25))


def _folder(rng: random.Random, path: Path) -> tuple[ResultFolder, list[Record]]:
    """A result folder as a run leaves it."""
    folder = ResultFolder(path / "results")
    folder.make()
    records = [_record(rng, number) for number in range(rng.randint(1, 12))]
    identity = {
        "model": {"files": {"model.safetensors": "0" * 64}},
        "data": {"format": "jsonl", "samples": len(records), "sha256": "0" * 64},
        "protocol": {"name": "qwen2vl", "version": 1, "min_pixels": 3136, "max_pixels": 3136},
        "engine": {"name": "fake", "device": "none", "dtype": "none"},
    }
    folder.claim(identity, {"model": "/ckpt/step-1", "out": str(path)}, empty=True)
    with Journal.open(folder.samples) as journal:
        journal.append(records)
    run.summarize(folder.path)
    return folder, records


def _use(folder: ResultFolder, path: Path) -> None:
    """All that reads a result folder; a refusal of one does not spare the others."""
    refusals: list[RadarError] = []
    uses: tuple[Callable[[], object], ...] = (
        lambda: folder.read_summary(),
        lambda: run.summarize(folder.path, official_out=path / "official"),
        lambda: compare(folder.path, folder.path),
        lambda: Journal.open(folder.samples).close(),
        lambda: folder.read_summary(),
    )
    for use in uses:
        try:
            use()
        except RadarError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def _require_all(folder: ResultFolder) -> None:
    """What is read, and what is summed up, are as many as the lines say."""
    keys = set()
    for line in folder.samples.read_bytes().splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            value = json.loads(line.decode("utf-8", "surrogatepass"))
            keys.add((value["task"], value["id"]))
    read = [record.key for record in read_records(folder.samples)]
    overall = folder.read_summary().overall
    if set(read) != keys or len(read) != len(keys) or overall.scored + overall.unscored != len(keys):
        raise MismatchError(f"{len(keys)} samples, {len(read)} read, {overall.scored} + {overall.unscored} counted")


def journal_bytes(rng: random.Random, path: Path) -> None:
    """A journal with damaged bytes."""
    folder, _ = _folder(rng, path)
    folder.samples.write_bytes(mutations.mutated_bytes(rng, folder.samples.read_bytes()))
    _use(folder, path)
    _require_all(folder)


def journal_values(rng: random.Random, path: Path) -> None:
    """A journal whose lines are JSON, with values that no run writes."""
    folder, records = _folder(rng, path)
    lines = [line_of(record) for record in records]
    place = rng.randrange(len(lines))
    value = mutations.mutated_json(rng, json.loads(lines[place]))
    lines[place] = json.dumps(value).encode() + b"\n"
    folder.samples.write_bytes(b"".join(lines))
    _use(folder, path)
    _require_all(folder)


def journal_twice(rng: random.Random, path: Path) -> None:
    """Samples in several lines: repeated, tried again, or contradicting each other."""
    folder, records = _folder(rng, path)
    more = [
        rng.choice([record, replace(record, seconds=rng.random()), _record(rng, number)])
        for number, record in enumerate(records)
        if rng.random() < 0.5
    ]
    with folder.samples.open("ab") as file:
        file.writelines(map(line_of, more))
    _use(folder, path)
    _require_all(folder)


def _small_file(name: str, *, as_bytes: bool) -> Callable[[random.Random, Path], None]:
    def attempt(rng: random.Random, path: Path) -> None:
        folder, _ = _folder(rng, path)
        file = folder.path / name
        data = file.read_bytes()
        if as_bytes:
            data = mutations.mutated_bytes(rng, data)
        else:
            data = json.dumps(mutations.mutated_json(rng, json.loads(data))).encode()
        file.write_bytes(data)
        _use(folder, path)

    return attempt


ATTACKS: tuple[Attack, ...] = (
    Attack("journal, bytes", journal_bytes, (RadarError,)),
    Attack("journal, values", journal_values, (RadarError,)),
    Attack("journal, twice", journal_twice, (RadarError,)),
    Attack("run.json, bytes", _small_file("run.json", as_bytes=True), (RadarError,)),
    Attack("run.json, values", _small_file("run.json", as_bytes=False), (RadarError,)),
    Attack("summary.json, bytes", _small_file("summary.json", as_bytes=True), (RadarError,)),
    Attack("summary.json, values", _small_file("summary.json", as_bytes=False), (RadarError,)),
)
