"""The bench, read aloud: one model, one file of samples, every contender loaded, rounds in turn, one report.

The first round of each is not timed. Before every round a contender forgets what it has cached of the samples, so that
each does the whole work anew; the order of the contenders moves on by one a round, so that none is always first.
"""

import tempfile
from contextlib import ExitStack
from dataclasses import replace
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
from radar_fast.engines.encode.encoder import Encoder
from radar_fast.readers import open_reader
from radar_fast.terminal.progress import Progress, SilentProgress

__all__ = ["bench"]

DEVICE_SHARE = 0.6
"""Of a GPU's memory for all vLLM contenders together; each of them reserves its part for as long as it lives."""


def bench(config: BenchConfig, progress: Progress | None = None) -> dict[str, Any]:
    """Run every contender on the same samples in turn.

    Returns:
        The report: what the machine, model and samples were, and ``rows``, one a contender; see docs/bench.md.

    Raises:
        RadarError: one of its kinds, with a message for the user.
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
        for named in config.contenders:
            check_contender(named, model.device)
        progress.say(f"model: {model.label}, {model.dtype} on {model.device}")
        setups = _setups(config, model)
        workload = _workload(config, setups[0], folder)
        progress.say(f"samples: {len(workload.samples)} of {workload.source}")
        file = folder / "samples.jsonl"
        write_samples(workload.samples, file)
        flops = _flops(model, workload)

        ledger = DeviceLedger(model.device)
        rates = [_rate(model)]
        contenders = []
        for setup in setups:
            ledger.begin()
            contenders.append(stack.enter_context(ContenderProcess(setup)))
            ledger.end(setup.name)
            progress.say(f"{setup.name}: ready after {contenders[-1].startup_seconds:.1f} s")
        rounds: dict[str, list[Round]] = {contender.name: [] for contender in contenders}
        for number in range(config.rounds + 1):
            first = number % len(contenders)
            for contender in (*contenders[first:], *contenders[:first]):
                out = folder / f"{number}-{contender.name}"
                out.mkdir()
                ledger.begin()
                rounds[contender.name].append(contender.score(file, out))
                ledger.end(contender.name)
                said = "warm-up" if number == 0 else f"round {number}"
                progress.say(f"{said}, {contender.name}: {rounds[contender.name][-1].seconds:.2f} s")
        rates.append(_rate(model))
        entries = [
            Entry(
                name=contender.name,
                is_peer=contender.name in config.peers,
                rounds=rounds[contender.name][1:],
                startup_seconds=contender.startup_seconds,
                peak_host_mib=contender.peak_host_mib(),
                peak_device_mib=ledger.peak_mib(contender.name),
                settings=contender.settings,
            )
            for contender in contenders
        ]
    return report_of(
        entries,
        works=workload.works,
        flops=flops,
        rate=max(rates),
        model=model.label,
        source=workload.source,
        device=model.device,
        dtype=model.dtype,
    )


def _setups(config: BenchConfig, model: Model) -> list[Setup]:
    arguments = dict(config.options.arguments)
    vllms = sum("arguments" in takes(name) for name in config.contenders)
    if model.device == "cuda" and vllms:
        arguments.setdefault("gpu_memory_utilization", f"{min(0.4, DEVICE_SHARE / vllms):.2f}")
    options = replace(config.options, device=model.device, dtype=model.dtype, arguments=arguments)
    return [
        Setup(
            name=name,
            model=str(model.checkpoint.path),
            protocol=config.protocol,
            min_pixels=config.min_pixels,
            max_pixels=config.max_pixels,
            options=options_for(name, options),
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
    return select(
        samples,
        prompt=protocol.prompt,
        encoder=encoder,
        count=config.samples,
        candidates=config.candidates,
        source=source,
    )


def _rate(model: Model) -> float:
    return matrix_rate(torch.device(model.device), getattr(torch, model.dtype))


def _flops(model: Model, workload: Workload) -> int | None:
    """That a round cannot do without; None for an architecture whose sum is not known."""
    if model.checkpoint.model_type != Architecture.model_type:
        return None
    import transformers

    with model.checkpoint.explained("config"):
        config = transformers.AutoConfig.from_pretrained(model.checkpoint.path, local_files_only=True)
    architecture = Architecture.of(config)
    return sum(sample_flops(architecture, work) for work in workload.works)
