"""The bench, read aloud: one model, one file of samples, every contender loaded, rounds in turn, one report.

The first round of each is not timed. Before every round a contender forgets what it has cached of the samples, so that
each does the whole work anew; the order of the contenders moves on by one a round, so that none is always first. One
that fails is a row of the report with its reason; the others go on.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from radar_fast.bench.config import GENERATED_CANDIDATES, BenchConfig
from radar_fast.bench.contender import Setup
from radar_fast.bench.memory import DeviceLedger
from radar_fast.bench.models import Model, prepare_model
from radar_fast.bench.process import ContenderProcess, Round
from radar_fast.bench.report import Entry, report_of
from radar_fast.bench.roofline import Architecture, matrix_rate, sample_flops
from radar_fast.bench.table import check_contender, options_for, takes
from radar_fast.bench.workload import Workload, generated_samples, select, write_samples
from radar_fast.conditions import Conditions
from radar_fast.engines.encode.encoder import Encoder
from radar_fast.errors import RadarError
from radar_fast.readers import open_reader
from radar_fast.terminal.progress import Progress, SilentProgress
from radar_fast.util.atomic import write_json_atomic

__all__ = ["bench"]

DEVICE_SHARE = 0.6
"""Of a GPU's memory for all vLLM contenders together; each of them reserves its part for as long as it lives."""

WARM_UP = 64
"""Most samples of a warm-up round where time is bounded: the second of two such rounds tells how many fit it."""


@dataclass
class _Lane:
    """A contender on its way through the race. One that fails is out of it, and in the report with the reason."""

    name: str
    process: ContenderProcess | None = None
    rounds: list[Round] = field(default_factory=list)
    """The timed ones."""
    error: RadarError | None = None
    peak_host_mib: float = 0.0

    def give_up(self, error: RadarError) -> None:
        """End its process: others may need what it holds."""
        self.error = error
        if self.process is not None:
            self.process.close(patience=0.0)


def bench(config: BenchConfig, progress: Progress | None = None) -> dict[str, Any]:
    """Run every contender on the same samples in turn.

    Returns:
        The report: what the machine, model and samples were, and ``rows``, one a contender; see docs/bench.md.

    Raises:
        RadarError: one of its kinds, with a message for the user: model, samples or all contenders could not be had.
    """
    progress = progress or SilentProgress()
    with tempfile.TemporaryDirectory(prefix="radar-fast-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        model = prepare_model(
            config.model,
            tokenizer=config.tokenizer,
            device=config.options.device,
            dtype=config.options.dtype,
            folder=folder / "model",
        )
        progress.say(f"model: {model.label}, {model.dtype} on {model.device}")
        setups = _setups(config, model)
        workload = _workload(config, setups[0], folder)
        progress.say(f"samples: {len(workload.samples)} of {workload.source}")
        file = folder / "samples.jsonl"
        write_samples(workload.samples, file)
        flops = _flops(model, workload)
        ledger = DeviceLedger(model.device)
        rates = [_rate(model)]
        lanes = [_Lane(setup.name) for setup in setups]

        def report(*, complete: bool) -> dict[str, Any]:
            return report_of(
                [_entry(lane, config, ledger) for lane in lanes],
                works=workload.works,
                flops=flops,
                rate=max(rates),
                model=model.label,
                source=workload.source,
                device=model.device,
                dtype=model.dtype,
                complete=complete,
            )

        for lane, setup in zip(lanes, setups, strict=True):
            with _turn(lane, ledger, progress):
                check_contender(setup.name, model.device)
                lane.process = stack.enter_context(ContenderProcess(setup))
                progress.say(f"{lane.name}: ready after {lane.process.startup_seconds:.1f} s")
        counts = {lane.name: len(workload.samples) for lane in lanes}
        for number in range(-2 if config.seconds else -1, config.rounds):
            first = number % len(lanes)
            for lane in (*lanes[first:], *lanes[:first]):
                if lane.process is None or lane.error is not None:
                    continue
                count = min(counts[lane.name], WARM_UP) if number < 0 and config.seconds else counts[lane.name]
                out = folder / f"{number}-{lane.name}"
                out.mkdir()
                with _turn(lane, ledger, progress):
                    done = lane.process.score(file, out, count)
                    lane.peak_host_mib = lane.process.peak_host_mib()
                    said = "warm-up" if number < 0 else f"round {number + 1}"
                    progress.say(f"{said}, {lane.name}: {done.samples} samples in {done.seconds:.2f} s")
                    if number >= 0:
                        lane.rounds.append(done)
                    elif config.seconds:
                        fitting = int(config.seconds / config.rounds * done.samples / done.seconds)
                        counts[lane.name] = min(len(workload.samples), max(1, fitting))
                if config.report is not None and any(other.rounds for other in lanes):
                    write_json_atomic(config.report, report(complete=False))
        rates.append(_rate(model))
        if all(lane.error is not None for lane in lanes):
            raise next(lane.error for lane in lanes if lane.error is not None)
        found = report(complete=True)
    if config.report is not None:
        write_json_atomic(config.report, found)
    return found


@contextmanager
def _turn(lane: _Lane, ledger: DeviceLedger, progress: Progress) -> Iterator[None]:
    """A lane's turn on the device. What goes wrong in it ends that lane alone."""
    ledger.begin()
    try:
        yield
    except RadarError as error:
        lane.give_up(error)
        progress.say(f"{lane.name}: failed: {error}")
    finally:
        ledger.end(lane.name)


def _entry(lane: _Lane, config: BenchConfig, ledger: DeviceLedger) -> Entry:
    return Entry(
        name=lane.name,
        is_peer=lane.name in config.peers,
        rounds=lane.rounds,
        startup_seconds=lane.process.startup_seconds if lane.process else 0.0,
        peak_host_mib=lane.peak_host_mib,
        peak_device_mib=ledger.peak_mib(lane.name),
        settings=lane.process.settings if lane.process else {},
        failed=None if lane.error is None else str(lane.error),
    )


def _setups(config: BenchConfig, model: Model) -> list[Setup]:
    arguments = dict(config.options.arguments)
    vllms = sum("arguments" in takes(name) for name in config.contenders)
    if model.device == "cuda" and vllms:
        arguments.setdefault("gpu_memory_utilization", f"{min(0.4, DEVICE_SHARE / vllms):.2f}")
    # Beside a GPU threads would measure the interpreter that they share with the model's own calls.
    on_gpu = model.device == "cuda" and config.options.worker_kind == "auto"
    kind = "processes" if on_gpu else config.options.worker_kind
    options = replace(config.options, device=model.device, dtype=model.dtype, arguments=arguments, worker_kind=kind)
    return [
        Setup(
            name=name,
            model=str(model.checkpoint.path),
            protocol=config.protocol,
            min_pixels=config.min_pixels,
            max_pixels=config.max_pixels,
            options=options_for(name, options),
            sglang=config.sglang,
        )
        for name in config.contenders
    ]


def _workload(config: BenchConfig, setup: Setup, folder: Path) -> Workload:
    checkpoint = setup.checkpoint
    protocol = setup.open_protocol(checkpoint)
    encoder = Encoder(checkpoint, protocol, torch.float32)
    if config.data is None:
        candidates = config.candidates or GENERATED_CANDIDATES
        pictures = folder / "pictures"
        pictures.mkdir()
        samples: Any = generated_samples(
            pictures, count=config.samples, candidates=candidates, size=config.size, words=config.words
        )
        source = f"generated pictures of {config.size[0]} to {config.size[1]} pixels a side, {candidates} candidates"
        if config.words:
            source += f", {config.words} words before the question"
    else:
        samples = open_reader(config.data, format=config.format, fields=config.fields)
        source = str(config.data)
        if config.candidates is not None:
            source += f", cut to {config.candidates} candidates"
    if config.letters:
        source += ", listed, their letters scored"
    return select(
        samples,
        prompt=protocol.prompt,
        encoder=encoder,
        count=config.samples,
        candidates=config.candidates,
        source=source,
        condition=Conditions(candidates="letter" if config.letters else "text").one,
    )


def _rate(model: Model) -> float:
    return matrix_rate(torch.device(model.device), getattr(torch, model.dtype))


def _flops(model: Model, workload: Workload) -> list[int] | None:
    """That each sample cannot do without; None for an architecture whose sum is not known."""
    if model.checkpoint.model_type != Architecture.model_type:
        return None
    import transformers

    with model.checkpoint.explained("config"):
        config = transformers.AutoConfig.from_pretrained(model.checkpoint.path, local_files_only=True)
    architecture = Architecture.of(config)
    return [sample_flops(architecture, work) for work in workload.works]
