"""What a sample costs by part, as one thing at a time varies, and a cost model fitted to it.

    python bench/costs.py [--model qwen2vl-70m] [--device cpu] [--dtype float32] [--seconds 300]
        [--json FILE] [--plot FILE.svg]
    python bench/costs.py --from FILE --plot FILE.svg

The transformers engine scores a few generated samples at each point: prefixes of more words, more candidates, longer
candidates, larger pictures, larger vocabularies (random weights), all else as at the base. Parts: vision tower,
language model, head, and host (read, preprocess, tokenise); of all rounds the least is taken, since what other work on
the machine adds is never negative. Prints a table of measured and modelled milliseconds a
sample with what parts by more than 20% marked, the factors, and one JSON line. The same call runs on a GPU.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from radar_fast.bench.cost_model import APART, TERMS, Point, fit, modelled, terms_of
from radar_fast.bench.models import Model, prepare_model
from radar_fast.bench.roofline import Architecture
from radar_fast.bench.workload import generated_samples, select
from radar_fast.engines import EngineContext, EngineOptions
from radar_fast.engines.encode.encoder import Encoded
from radar_fast.engines.transformers.engine import TransformersEngine
from radar_fast.protocols import open_protocol
from radar_fast.sample import Sample

WORDS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black", "circle", "square", "ring", "star")
PARTS = tuple(TERMS)


@dataclass(frozen=True)
class Setting:
    """Where all sweeps meet."""

    words: int = 40
    """Before the question."""
    candidates: int = 4
    answer: int = 3
    """Words of a candidate."""
    side: int = 112
    """Of the picture, in pixels."""
    vocabulary: int = 0
    """0: the model's own."""


SWEEPS: dict[str, tuple[str, tuple[int, ...]]] = {
    "prefix": ("words", (0, 40, 120, 240)),
    "candidates": ("candidates", (2, 4, 8, 16)),
    "answer": ("answer", (1, 3, 8, 16)),
    "image": ("side", (56, 112, 224, 336)),
    "vocabulary": ("vocabulary", (2048, 16384, 65536, 151936)),
}
"""Name -> the field of :class:`Setting` that varies, and its values."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2vl-70m", help="of those that the bench knows by name")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--samples", type=int, default=8, help="at each point")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=300.0, help="begin no point after so long")
    parser.add_argument("--json", type=Path, help="keep what was found")
    parser.add_argument("--from", dest="kept", type=Path, help="measure nothing: what --json kept")
    parser.add_argument("--plot", type=Path, help="draw it; needs matplotlib")
    args = parser.parse_args()
    if args.kept is not None:
        report = json.loads(args.kept.read_text())
    else:
        points = measure(args)
        report = {
            "bench": "costs",
            "model": args.model,
            "device": args.device,
            "dtype": args.dtype,
            "threads": torch.get_num_threads(),
            "samples": args.samples,
            "points": [asdict(point) for point in points],
        }
    points = [Point(**point) for point in report["points"]]
    factors = fit(points)
    report["factors"] = {part: dict(zip(TERMS[part], factors[part], strict=True)) for part in PARTS}
    table(points, factors, report["samples"])
    if args.json is not None:
        args.json.write_text(json.dumps(report) + "\n")
    if args.plot is not None:
        draw(points, factors, report, args.plot)
    print(json.dumps(report))


# Measuring -----------------------------------------------------------------------------------------------------------


def measure(args: Any) -> list[Point]:
    ends = time.monotonic() + args.seconds
    points: list[Point] = []
    with tempfile.TemporaryDirectory(prefix="radar-fast-bench-") as temporary:
        folder = Path(temporary)
        base = prepare_model(args.model, tokenizer=None, device=args.device, dtype=args.dtype, folder=folder / "model")
        for name, (fieldname, values) in SWEEPS.items():
            for value in values:
                if time.monotonic() > ends:
                    return points
                setting = replace(Setting(), **{fieldname: value})
                made = folder / f"{name}-{value}"
                made.mkdir()
                model = base if not setting.vocabulary else with_vocabulary(base, setting.vocabulary, args, made)
                points.append(point(name, value, setting, model, made, args))
                each = ", ".join(f"{part} {1e3 * points[-1].seconds[part] / args.samples:.2f}" for part in PARTS)
                print(f"{name} {value}: {each} ms", flush=True)
                if setting.vocabulary:
                    shutil.rmtree(made)
    return points


def with_vocabulary(base: Model, size: int, args: Any, folder: Path) -> Model:
    """The same sizes with so many words, and random weights."""
    values = json.loads((base.checkpoint.path / "config.json").read_text())
    for section in (values, values.get("text_config")):
        if section is not None and (section is not values or "vocab_size" in values):
            section["vocab_size"] = size
    config = folder / "config.json"
    config.write_text(json.dumps(values))
    return prepare_model(str(config), tokenizer=None, device=args.device, dtype=args.dtype, folder=folder / "model")


def point(name: str, value: int, setting: Setting, model: Model, folder: Path, args: Any) -> Point:
    pixels = setting.side * setting.side
    protocol = open_protocol("auto", model.checkpoint, min_pixels=pixels, max_pixels=pixels)
    options = EngineOptions(device=model.device, dtype=model.dtype)
    engine = TransformersEngine(model.checkpoint, protocol, options, EngineContext())
    try:
        samples = made_samples(folder, setting, args.samples)
        encoder = engine._encoder
        work = select(
            samples, prompt=protocol.prompt, encoder=encoder, count=len(samples), candidates=None, source=""
        ).works
        host = []
        for _ in range(args.rounds + 1):
            started = time.perf_counter()
            encoded = [encoder.encode(protocol.prompt(sample)) for sample in samples]
            host.append(time.perf_counter() - started)
        usable = [each for each in encoded if isinstance(each, Encoded)]
        found: list[dict[str, float]] = []
        for _ in range(args.rounds + 1):
            engine._clock.take()
            list(engine._score_window(usable))
            found.append(engine._clock.seconds())
        seconds = {part: min(each.get(part, 0.0) for each in found[1:]) for part in PARTS if part != "host"}
        seconds["host"] = min(host[1:])
        batches = len(engine._batches(usable))
        architecture = Architecture.of(engine._forward._model.config)
        return Point(name, value, batches, terms_of(architecture, work, batches), seconds)
    finally:
        engine.close()


def made_samples(folder: Path, setting: Setting, count: int) -> list[Sample]:
    """With candidates of so many words, all distinct."""
    sides = (setting.side, setting.side)
    samples = generated_samples(folder, count=count, candidates=2, size=sides, words=setting.words)
    draw = random.Random(0)
    return [replace(sample, candidates=distinct(draw, setting), answer=0) for sample in samples]


def distinct(draw: random.Random, setting: Setting) -> tuple[str, ...]:
    found: dict[str, None] = {}
    while len(found) < setting.candidates:
        number = len(found)
        rest = [draw.choice(WORDS) for _ in range(setting.answer - 1)]
        found[" ".join([WORDS[number % len(WORDS)], *rest]) + ("" if number < len(WORDS) else str(number))] = None
    return tuple(found)


# Showing -------------------------------------------------------------------------------------------------------------


def table(points: Sequence[Point], factors: dict[str, tuple[float, ...]], samples: int) -> None:
    print(f"\nmilliseconds a sample, measured and (modelled); * where they part by more than {APART:.0%}")
    print(f"{'sweep':<11}{'value':>7}  " + "".join(f"{part:>21}" for part in (*PARTS, "all")))
    for each in points:
        expected = modelled(factors, each)
        cells = [(each.seconds[part], expected[part]) for part in PARTS]
        cells.append((sum(each.seconds.values()), sum(expected.values())))
        print(f"{each.sweep:<11}{each.value:>7}  " + "".join(cell(*pair, samples) for pair in cells))
    for part in PARTS:
        named = ", ".join(f"{name} {factor:.3g}" for name, factor in zip(TERMS[part], factors[part], strict=True))
        print(f"{part}: seconds a unit of {named}")


def cell(measured: float, expected: float, samples: int) -> str:
    mark = "*" if apart(measured, expected) else " "
    return f"{1e3 * measured / samples:>9.2f} ({1e3 * expected / samples:>8.2f}){mark}"


def apart(measured: float, expected: float) -> bool:
    return abs(measured - expected) > APART * measured


def draw(points: Sequence[Point], factors: dict[str, tuple[float, ...]], report: dict[str, Any], out: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    colours = {"vision": "#0072b2", "language": "#d55e00", "head": "#cc79a7", "host": "#009e73"}
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "radar-fast", "svg.fonttype": "none"})
    sweeps = list(dict.fromkeys(each.sweep for each in points))
    figure, axes = plt.subplots(1, len(sweeps), figsize=(2.6 * len(sweeps), 3.2), layout="constrained", squeeze=False)
    for axis, sweep in zip(axes[0], sweeps, strict=True):
        some = [each for each in points if each.sweep == sweep]
        values = [each.value for each in some]
        for part in PARTS:
            scale = 1e3 / report["samples"]
            measured = [scale * each.seconds[part] for each in some]
            expected = [scale * modelled(factors, each)[part] for each in some]
            axis.plot(values, measured, "o", color=colours[part], label=part, markersize=4)
            axis.plot(values, expected, "-", color=colours[part], linewidth=1)
        axis.set_title({"prefix": "words of text", "answer": "words of a candidate"}.get(sweep, sweep))
        axis.set_yscale("log")
        if sweep in ("vocabulary", "candidates"):
            axis.set_xscale("log", base=2)
        axis.grid(alpha=0.2)
    axes[0][0].set_ylabel("ms a sample")
    axes[0][-1].legend(frameon=False, fontsize=8)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main()
