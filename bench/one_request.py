"""The vLLM engine with one request a sample, with one a candidate, and, where given, as another checkout has it.

    python bench/one_request.py [--before DIR] [--model demo] [--candidates 2,4,8] [--words 0,190] [--samples 256]

All contenders are loaded at once and score the same generated samples in turn, ``--rounds`` times after one that is not
counted. Beside wall time it reads the CPU time of each contender's processes, which other work on the machine changes
less. Prints a table, then one JSON line.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from radar_fast.bench.contender import Setup
from radar_fast.bench.memory import family
from radar_fast.bench.models import prepare_model
from radar_fast.bench.process import ContenderProcess
from radar_fast.bench.workload import generated_samples, select, write_samples
from radar_fast.engines import EngineOptions
from radar_fast.engines.encode.encoder import Encoder

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class _Older(Setup):
    """For a checkout that does not know of every option: what has its default is not said."""

    def to_dict(self) -> dict[str, Any]:
        values = super().to_dict()
        usual = {each.name: each.default for each in fields(Setup)}
        options = {name: values["options"][name] for name in self.options.changed()}
        said = {name: value for name, value in values.items() if name not in usual or value != usual[name]}
        return {**said, "options": options}


class _OlderProcess(ContenderProcess):
    """That of a checkout that does not say how many samples it scored."""

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        return {"samples": 0, **super()._ask(question)}


def start(tree: Path, setup: Setup) -> ContenderProcess:
    """A contender that runs the code of a checkout."""
    ours = {
        "PYTHONPATH": os.pathsep.join([str(tree), str(tree / "tests" / "support")]),
        "PYTHONSAFEPATH": "1",  # else the folder that the bench is started in comes first, whatever the path says
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        return (_OlderProcess if isinstance(setup, _Older) else ContenderProcess)(setup)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def cpu_seconds(pid: int) -> float:
    """Of a process and its children, so far."""
    ticks = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout, for a contender more")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--candidates", default="2,4,8")
    parser.add_argument("--words", default="0,190", help="before a question: 0 for short prompts, 190 for 370 tokens")
    parser.add_argument("--size", default="56-64", help="sides of the pictures, in pixels")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="radar-fast-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        model = prepare_model(args.model, tokenizer=None, device=args.device, dtype=args.dtype, folder=folder / "model")
        options = EngineOptions(device=model.device, dtype=model.dtype)
        setup = Setup(
            name="vllm",
            model=str(model.checkpoint.path),
            protocol="auto",
            min_pixels=3136,
            max_pixels=3136,
            options=options,
        )
        contenders: dict[str, tuple[Path, Setup]] = {}
        if args.before is not None:
            contenders["before"] = (args.before.resolve(), _Older(**vars(setup)))
        for request in ("per-candidate", "one"):
            contenders[request] = (ROOT, replace(setup, options=replace(options, request=request)))
        running = {name: stack.enter_context(start(*made)) for name, made in contenders.items()}
        protocol = setup.open_protocol(model.checkpoint)
        encoder = Encoder(model.checkpoint, protocol, torch.float32)
        for words in map(int, args.words.split(",")):
            for candidates in map(int, args.candidates.split(",")):
                made = folder / f"{words}-{candidates}"
                made.mkdir()
                least, most = map(int, args.size.split("-"))
                samples = generated_samples(
                    made, count=args.samples, candidates=candidates, size=(least, most), words=words
                )
                workload = select(
                    samples, prompt=protocol.prompt, encoder=encoder, count=args.samples, candidates=None, source=""
                )
                file = made / "samples.jsonl"
                write_samples(workload.samples, file)
                rows += race(running, file, made, args.rounds, {"words": words, "candidates": candidates})
    print(f"{'words':>5} {'K':>2}  {'request':<14}{'samples/s':>10}{'times':>7}{'CPU ms':>8}{'times':>7}{'tokens':>8}")
    for row in rows:
        print(
            f"{row['words']:>5} {row['candidates']:>2}  {row['request']:<14}{args.samples / row['seconds']:>10.1f}"
            f"{row['times']:>7.2f}{1000 * row['cpu_seconds'] / args.samples:>8.2f}{row['cpu_times']:>7.2f}"
            f"{row['tokens_computed'] / args.samples:>8.1f}"
        )
    print(json.dumps({"bench": "one_request", "model": args.model, "samples": args.samples, "rows": rows}))


def race(
    running: dict[str, ContenderProcess], file: Path, folder: Path, rounds: int, about: dict[str, int]
) -> list[dict[str, Any]]:
    """Rounds in turn, medians of them; ``times``: as the first contender's."""
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in running}
    logits: dict[str, Any] = {}
    names = list(running)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            out = folder / f"{number}-{name}"
            out.mkdir()
            before = cpu_seconds(running[name].pid)
            outcome = running[name].score(file, out)
            found[name].append((outcome.seconds, cpu_seconds(running[name].pid) - before, outcome.tokens_computed))
            logits[name] = outcome.logits
    rows: list[dict[str, Any]] = []
    for name, all_of in found.items():
        seconds, cpu, tokens = (statistics.median(values) for values in zip(*all_of[1:], strict=True))
        first = rows[0] if rows else {"seconds": seconds, "cpu_seconds": cpu}
        rows.append(
            {
                **about,
                "request": name,
                "seconds": seconds,
                "cpu_seconds": cpu,
                "tokens_computed": tokens,
                "times": first["seconds"] / seconds,
                "cpu_times": first["cpu_seconds"] / cpu,
                "apart": apart(logits[name], logits[names[0]]),
            }
        )
    return rows


def apart(mine: Any, theirs: Any) -> float:
    """Largest difference of two rounds' logits."""
    if isinstance(mine, float):
        return float(abs(mine - theirs))
    return max((apart(one, other) for one, other in zip(mine, theirs, strict=True)), default=0.0)


if __name__ == "__main__":
    main()
