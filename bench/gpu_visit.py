"""What to do on a GPU machine, in three visits of less than eight minutes each: python bench/gpu_visit.py plan

    python bench/gpu_visit.py plan                        # the commands, one a visit
    python bench/gpu_visit.py check|kernels|race [--seconds 460] [--out bench/results] [--part NAME] [--dry-run]

A visit is a list of parts. Each runs in a process of its own and is ended when its time is up; whatever becomes of it,
the next one starts. As each ends, ``gpu-visit-NAME.jsonl`` in --out is written anew, with how it ended, how long it
took and what it said last; what the parts measure lies beside it. Exit status 1: some part failed.

check: what is installed, the kernels against fp64, every attention and engine on a model of 70 M parameters and four
samples. kernels: bench/kernels.py and bench/tune_kernels.py. race: the engines against their peers on a model of 2 B.

--dry-run is for a machine where a GPU is pretended (tests/support/pretend_gpu.py): the same parts in the same order,
with the demo's model, pictures of four tokens, few shapes, and four times the time.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from results_file import keep

ROOT = Path(__file__).resolve().parents[1]
TAIL = 4000
"""Most characters that are kept of what a part said."""
LEAST = 20
"""Seconds: with less left no part is started."""


@dataclass(frozen=True)
class Part:
    """One command of a visit."""

    name: str
    command: tuple[str, ...]
    """From the root of the checkout; {seconds} and {out} are filled in."""
    seconds: float
    """Most that it may take, and less where less is left."""


@dataclass(frozen=True)
class Ended:
    """How a part ended."""

    name: str
    command: str
    status: str
    """``done``, ``failed (exit status N)``, ``cut off`` or ``left out: no time``."""
    seconds: float
    said: str
    """The end of its output."""


def bench(*arguments: str, name: str, small: bool) -> tuple[str, ...]:
    """``radar-fast bench`` on the GPU, kept under ``name``."""
    kept = ("bench/record.py", name, "--out", "{out}", "--seconds", "{seconds}")
    tiny = ("--model", "demo", "--dtype", "float32", "--size", "56-64", "--min-pixels", "3136", "--max-pixels", "3136")
    return (*kept, "--", "--device", "cuda", "--candidates", "4", *(tiny if small else ()), *arguments)


def check(*, small: bool) -> tuple[Part, ...]:
    """Visit (a)."""
    model: tuple[str, ...] = ("--samples", "4", "--rounds", "1")
    if not small:
        model = (*model, "--model", "qwen2vl-70m", "--dtype", "bfloat16", "--size", "336-700")

    def transformers(attention: str) -> Part:
        """Our engine against the published algorithm, and whether their logits agree."""
        words = ("--engines", "transformers", "--attention", attention)
        return Part(f"transformers, {attention}", bench(*model, *words, name=f"gpu-check-{attention}", small=small), 90)

    vllm = ("--engines", "vllm", "--peers", "vllm-prompt-logprobs,vllm-token-ids")
    return (
        Part("installed", ("bench/gpu_installed.py",), 90),
        Part("kernels", ("bench/gpu_kernels.py", *(("--quick",) if small else ())), 120),
        transformers("flex"),
        Part("vllm", bench(*model, *vllm, name="gpu-check-vllm", small=small), 250),
        transformers("dense"),
        transformers("cascade"),
    )


def kernels(*, small: bool) -> tuple[Part, ...]:
    """Visit (b)."""
    shapes = ("--shape", "K1:2:507", "--shape", "K2:3:300:64") if small else ()
    sweep = ("--vocabulary", "300", "--depths", "64", "--rows", "3", "--rounds", "2", "--most", "2") if small else ()
    timed = ("--seconds", "{seconds}", "--out", "{out}")
    return (
        Part("kernels", ("bench/kernels.py", "--quick", *timed, *shapes), 210),
        Part("tuning", ("bench/tune_kernels.py", *timed, *sweep), 250),
    )


def race(*, small: bool) -> tuple[Part, ...]:
    """Visit (c). Fast contenders score 512 samples a round, slow ones as many as fit a minute in all."""
    engines = ("--engines", "vllm,transformers", "--peers", "vllm-prompt-logprobs,published", "--rounds", "2")
    words: tuple[str, ...]
    if small:
        words = (*engines, "--samples", "8", "--seconds", "0.5")
    else:
        size = ("--model", "qwen2vl-2b", "--dtype", "bfloat16", "--size", "336-1000")
        words = (*engines, *size, "--samples", "512", "--seconds", "60")
    return (Part("race", bench(*words, name="gpu-qwen2vl-2b", small=small), 460),)


VISITS = {"check": check, "kernels": kernels, "race": race}
GRACE = 15
"""Seconds that a part gets to end by itself once its time is up."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("visit", choices=("plan", *VISITS))
    parser.add_argument("--seconds", type=float, default=460, help="for the whole visit")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--part", action="append", help="only this part; may be given several times")
    parser.add_argument("--dry-run", action="store_true", help="small, for a machine where a GPU is pretended")
    args = parser.parse_args()
    if args.visit == "plan":
        print(plan())
        return 0
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"gpu-visit-{args.visit}.jsonl"
    times = 4 if args.dry_run else 1
    parts = [replace(part, seconds=times * part.seconds) for part in VISITS[args.visit](small=args.dry_run)]
    wanted = args.part or [part.name for part in parts]
    if unknown := set(wanted) - {part.name for part in parts}:
        parser.error(f"--part {min(unknown)}: {args.visit} has {', '.join(part.name for part in parts)}")
    parts = [part for part in parts if part.name in wanted]
    ended: list[Ended] = []
    for each in visit(parts, out, time.monotonic() + times * args.seconds):
        ended.append(each)
        keep(file, "".join(json.dumps(asdict(one)) + "\n" for one in ended))
    print(f"\n{'part':<24}{'seconds':>8}  how it ended")
    for each in ended:
        print(f"{each.name:<24}{each.seconds:>8.1f}  {each.status}")
    return int(any(each.status != "done" for each in ended))


def plan() -> str:
    lines = ["On a GPU machine, from the root of a checkout, one command a visit; results are in bench/results:", ""]
    for letter, name in zip("abc", VISITS, strict=True):
        lines.append(f"  ({letter}) python bench/gpu_visit.py {name}")
        lines += [f"      at most {part.seconds:.0f} s: {part.name}" for part in VISITS[name](small=False)]
    return "\n".join(lines)


def visit(parts: Sequence[Part], out: Path, stop: float) -> Iterator[Ended]:
    """Run the parts in turn until ``stop``, by the monotonic clock."""
    for part in parts:
        left = min(part.seconds, stop - time.monotonic() - GRACE)
        words = [word.format(seconds=f"{max(left, 1):.0f}", out=out) for word in part.command]
        command = " ".join(["python", *words]).replace(str(out), "bench/results")
        print(f"\n== {part.name}: {command}", flush=True)
        if left < LEAST:
            yield Ended(part.name, command, "left out: no time", 0.0, "")
            continue
        yield run(part.name, command, words, left)


def run(name: str, command: str, words: list[str], seconds: float) -> Ended:
    """One part; what it says is shown as it comes and its end is kept."""
    started = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-u", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
            start_new_session=True,  # so that what it has started can be ended with it
        )
        try:
            code = process.wait(timeout=seconds + GRACE)
            status = "done" if code == 0 else f"failed (exit status {code})"
        except subprocess.TimeoutExpired:
            status = "cut off"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - TAIL))
        said = output.read().decode(errors="replace")
    print(said, flush=True)
    return Ended(name, command, status, time.monotonic() - started, said)


if __name__ == "__main__":
    sys.exit(main())
