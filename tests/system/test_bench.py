"""``radar-fast bench``: its arithmetic against other people's counts, its peers against the plain loop, and the command
as a process."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bench_data import write_jsonl
from command_line import run_cli
from plain import TAG, PlainLoop, Question
from processes import uncovered

from radar_fast.bench.config import BenchConfig
from radar_fast.bench.contender import Contender, EngineContender, Setup
from radar_fast.bench.memory import DeviceLedger, peak_host_mib
from radar_fast.bench.models import prepare_model
from radar_fast.bench.peers import PerCandidate, Published
from radar_fast.bench.process import ContenderProcess, Round
from radar_fast.bench.report import Entry, check_plot, report_of, tables_of, write_plot
from radar_fast.bench.roofline import Architecture, Work, matrix_rate, sample_flops
from radar_fast.bench.vllm_peers import check_token_ids
from radar_fast.bench.workload import cut, generated_samples, read_samples, select, write_samples
from radar_fast.engines import EngineOptions
from radar_fast.engines.encode.encoder import Encoded, Encoder
from radar_fast.errors import DataError, EngineError, ModelError, UsageError
from radar_fast.images import read_image
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol
from radar_fast.readers import open_reader
from radar_fast.sample import EmbeddedImage, ImageFile, Sample

PIXELS = {"min_pixels": 56 * 56, "max_pixels": 112 * 112}
"""Small images: the arithmetic is the same."""


def setup_of(name: str, model: Path, **changes: Any) -> Setup:
    values: dict[str, Any] = {
        "name": name,
        "model": str(model),
        "protocol": "qwen2vl",
        **PIXELS,
        "options": EngineOptions(device="cpu", dtype="float32", workers=1),
    }
    return Setup(**{**values, **changes})


@pytest.fixture
def pictures(tmp_path: Path) -> list[Sample]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return generated_samples(folder, count=3, candidates=3, size=(60, 160))


# The roofline --------------------------------------------------------------------------------------------------------


def test_flops_are_those_that_torch_counts(qwen2vl: Path) -> None:
    """A whole forward pass: every position sees every other there, and every row meets the head."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import Qwen2VLForConditionalGeneration

    model = Qwen2VLForConditionalGeneration.from_pretrained(qwen2vl, attn_implementation="eager").eval()
    grids = torch.tensor([[1, 8, 6], [1, 4, 10]])
    image = model.config.image_token_id
    ids = torch.tensor([[1, *[image] * 12, 2, *[image] * 10, 3, 4, 5]])
    pixels = torch.zeros(int(grids.prod(-1).sum()), 3 * 2 * 14 * 14)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(
            input_ids=ids,
            pixel_values=pixels,
            image_grid_thw=grids,
            mm_token_type_ids=(ids == image).int(),
            use_cache=False,
        )
    architecture = Architecture.of(model.config)
    length = ids.shape[1]
    vision = architecture.vision(48) + architecture.vision(40)
    assert counter.get_total_flops() == vision + architecture.language(length, length**2) + architecture.head(length)


def test_positions_and_pairs_are_those_of_the_tree() -> None:
    work = Work(prefix=5, answers=(1, 3, 4), images=())
    # (candidate or None, place in it) of every position; a position sees earlier ones of the prefix and of its own.
    rows: list[tuple[int | None, int]] = [(None, place) for place in range(5)]
    rows += [(candidate, place) for candidate, length in enumerate(work.answers) for place in range(length - 1)]
    seen = [
        (row, other)
        for row in rows
        for other in rows
        if (other[0] is None and (row[0] is not None or other[1] <= row[1]))
        or (other[0] is not None and other[0] == row[0] and other[1] <= row[1])
    ]
    assert work.positions == len(rows)
    assert work.pairs == len(seen)
    assert work.head_rows == 1 + 2 + 3


def shipped(name: str) -> Any:
    """A config that comes along, and its model without weights."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    import radar_fast.bench

    config = AutoConfig.from_pretrained(Path(radar_fast.bench.__file__).parent / "configs" / f"{name}.json")
    with torch.device("meta"):
        return config, AutoModelForImageTextToText.from_config(config)


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_shipped_config_is_a_two_billion_model_and_is_counted() -> None:
    config, model = shipped("qwen2vl-2b")
    assert parameters(model) == 2_208_985_600  # as published
    architecture = Architecture.of(config)
    # Away from attention, a position costs two operations a weight of the layers it passes.
    layers = sum(p.numel() for name, p in model.named_parameters() if ".layers." in name and p.ndim > 1)
    assert architecture.language(1, 0) == 2 * layers
    assert sample_flops(architecture, Work(300, (3, 3), (1024,))) > 300 * 2 * layers


def test_the_small_shipped_config_has_the_proportions_of_the_large_one() -> None:
    (_, large), (_, small) = shipped("qwen2vl-2b"), shipped("qwen2vl-70m")
    assert parameters(small) == 69_494_016
    parts: list[Callable[[Any], Any]] = [lambda model: model.model.visual, lambda model: model.get_input_embeddings()]
    for part in parts:
        assert parameters(part(small)) / parameters(small) == pytest.approx(
            parameters(part(large)) / parameters(large), abs=0.02
        )


def test_the_matrix_rate_is_one_of_this_machine() -> None:
    rate = matrix_rate(torch.device("cpu"), torch.float32, sizes=(256,), seconds=0.02)
    assert 1e8 < rate < 1e15


# Peers ---------------------------------------------------------------------------------------------------------------


CONTENDERS = [("published", Published), ("per-candidate", PerCandidate), ("transformers", EngineContender)]


@pytest.mark.parametrize(("name", "kind"), CONTENDERS)
def test_a_contender_gives_the_plain_loops_logits(
    name: str, kind: Callable[[Setup], Contender], qwen2vl: Path, pictures: list[Sample], tmp_path: Path
) -> None:
    loop = PlainLoop(qwen2vl, PIXELS["min_pixels"], PIXELS["max_pixels"])
    contender = kind(setup_of(name, qwen2vl))
    for _ in range(2):
        contender.forget()
        (tmp_path / "out").mkdir()
        outcome = contender.score(pictures, tmp_path / "out")
        assert any((tmp_path / "out").iterdir()), "results are written"
        for path in (tmp_path / "out").iterdir():
            path.unlink()
        (tmp_path / "out").rmdir()
        for sample, mine in zip(pictures, outcome.logits, strict=True):
            text = TAG + str(sample.parts[1])
            question = Question("", sample.id, text, [sample.parts[0].path], list(sample.candidates))
            for one, other in zip(mine, loop(question)[0], strict=True):
                assert one == pytest.approx(other, abs=1e-4)
        assert {"vision", "language", "head", "write"} <= set(outcome.stages)
        assert all(seconds >= 0 for seconds in outcome.stages.values())
    contender.close()


def test_the_published_peer_works_as_the_script_does(
    qwen2vl: Path, pictures: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images once for the question and once a candidate; a batch of padded rows; logits at every position."""
    peer = Published(setup_of("published", qwen2vl))
    read: list[Path] = []

    def noted(image: Any, *rgb: Any) -> Any:
        read.append(image.path)
        return read_image(image, *rgb)

    monkeypatch.setattr("radar_fast.engines.encode.encoder.read_image", noted)
    shapes: list[tuple[int, ...]] = []
    peer._model.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.logits.shape)))
    outcome = peer.score(pictures[:1], tmp_path)
    assert read == [pictures[0].parts[0].path] * 4
    [(rows, length, vocabulary)] = shapes
    assert rows == 3
    assert vocabulary == peer._model.config.get_text_config().vocab_size
    assert outcome.tokens_computed == rows * length


def test_a_token_id_request_starts_at_the_row_before_its_answer(qwen2vl: Path, pictures: list[Sample]) -> None:
    """What can be seen of that peer without a GPU: vLLM wants as many rows as the prompt has from the start on."""
    from radar_fast.bench.vllm_peers import TokenIds
    from radar_fast.util.clock import Clock

    setup = setup_of("vllm-token-ids", qwen2vl)
    checkpoint = setup.checkpoint
    peer = TokenIds.__new__(TokenIds)
    peer._protocol = setup.open_protocol(checkpoint)
    peer._encoder = Encoder(checkpoint, peer._protocol, torch.float32)
    peer._clock = Clock()
    for sample in pictures:
        prompt = peer._protocol.prompt(sample)
        encoded = peer._encoder.encode(prompt)
        for request, suffix in zip(peer._requests(0, prompt), encoded.suffixes, strict=True):
            assert request.length == len(encoded.prefix) + len(suffix)
            assert request.ids == suffix[encoded.scored_from :]


def test_peers_that_cannot_run_here_are_refused() -> None:
    pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")
    with pytest.raises(UsageError, match=r"vllm-token-ids: needs vLLM's V2 model runner"):
        check_token_ids("cpu")


# Samples -------------------------------------------------------------------------------------------------------------


def test_cutting_keeps_the_answer_and_the_first_distractors() -> None:
    sample = Sample("1", "t", "d", "other", ("?",), ("a", "b", "c", "d"), 2)
    assert cut(sample, 2) == replace(sample, candidates=("a", "c"), answer=1)
    assert cut(sample, 4) == sample
    assert cut(sample, 5) is None


def test_the_first_samples_that_can_be_scored_are_taken(qwen2vl: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", 12, image="nowhere.png")
    protocol = open_protocol("qwen2vl", None, min_pixels=PIXELS["min_pixels"], max_pixels=PIXELS["max_pixels"])
    encoder = Encoder(Checkpoint.open(qwen2vl), protocol, torch.float32)

    def chosen(candidates: int | None) -> Any:
        return select(
            open_reader(data),
            prompt=protocol.prompt,
            encoder=encoder,
            count=3,
            candidates=candidates,
            source="here",
        )

    assert [sample.id for sample in chosen(None).samples] == ["q1", "q2", "q3"]  # q0 has no picture
    found = chosen(4)
    assert [sample.id for sample in found.samples] == ["q2", "q5", "q8"]
    for sample, work in zip(found.samples, found.works, strict=True):
        encoded = encoder.encode(protocol.prompt(sample))
        assert isinstance(encoded, Encoded)
        assert work.positions == len(encoded.prefix) + sum(len(suffix) - 1 for suffix in encoded.suffixes)
        assert work.images == (int(encoded.inputs["image_grid_thw"].prod()),)
    with pytest.raises(DataError, match=r"no sample with at least 5 candidates \(the most there are is 4\)"):
        chosen(5)


def test_samples_travel_unchanged(tmp_path: Path) -> None:
    file = ImageFile(tmp_path / "a.png")
    inside = EmbeddedImage("data.tsv:1 image", b"PNG and so on")
    sample = Sample("é", "t", "d", "other", (file, "text", inside), ("a", "b"), 1, {"index": 3}, ordered=True)
    write_samples([sample, sample], tmp_path / "samples.jsonl")
    for arrived in read_samples(tmp_path / "samples.jsonl"):
        assert arrived.parts[:2] == sample.parts[:2]
        assert isinstance(arrived.parts[2], ImageFile)
        assert arrived.parts[2].path.read_bytes() == inside.data
        assert replace(arrived, parts=sample.parts, metadata=sample.metadata) == sample


def test_generated_samples_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append(generated_samples(tmp_path / name, count=3, candidates=64, size=(40, 200), seed=7))
    for one, other in zip(*made, strict=True):
        assert one.candidates == other.candidates
        assert len(set(one.candidates)) == 64
        assert one.parts[0].path.read_bytes() == other.parts[0].path.read_bytes()
    with pytest.raises(DataError, match="at most 64"):
        generated_samples(tmp_path, count=1, candidates=65, size=(40, 200))


# Models --------------------------------------------------------------------------------------------------------------


def prepared(model: str | Path, folder: Path, **changes: Any) -> Any:
    return prepare_model(
        str(model), **{"tokenizer": None, "device": "cpu", "dtype": "float32", "folder": folder, **changes}
    )


def test_a_config_alone_gets_random_weights_at_full_size(qwen2vl: Path, tmp_path: Path) -> None:
    config = json.loads((qwen2vl / "config.json").read_text())
    config["text_config"]["vocab_size"] = 1234
    (tmp_path / "mine.json").write_text(json.dumps(config))
    model = prepared(tmp_path / "mine.json", tmp_path / "made", dtype="bfloat16")
    assert "random weights" in model.label
    from safetensors.torch import load_file

    weights = load_file(model.checkpoint.path / "model.safetensors")
    [embedding] = [weight for name, weight in weights.items() if name.endswith("embed_tokens.weight")]
    assert embedding.shape[0] == 1234
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    again = prepared(tmp_path / "mine.json", tmp_path / "again", dtype="bfloat16")
    others = load_file(again.checkpoint.path / "model.safetensors")
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())


def test_a_config_alone_can_bring_its_tokenizer(qwen2vl: Path, tmp_path: Path) -> None:
    (tmp_path / "config-only").mkdir()
    (tmp_path / "config-only" / "config.json").write_bytes((qwen2vl / "config.json").read_bytes())
    model = prepared(tmp_path / "config-only", tmp_path / "made", tokenizer=qwen2vl)
    assert (model.checkpoint.path / "tokenizer.json").read_bytes() == (qwen2vl / "tokenizer.json").read_bytes()


def test_models_that_cannot_be_are_refused(qwen2vl: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere: no such folder or config.json, .* demo, qwen2vl-2b"):
        prepared("nowhere", tmp_path)
    with pytest.raises(UsageError, match="is for a config alone"):
        prepared(qwen2vl, tmp_path, tokenizer=qwen2vl)
    (tmp_path / "other.json").write_text('{"model_type": "llava"}')
    with pytest.raises(UsageError, match=r"model_type 'llava' needs --tokenizer DIR"):
        prepared(tmp_path / "other.json", tmp_path / "made")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        prepared(tmp_path / "broken.json", tmp_path / "broken")
    config = json.loads((qwen2vl / "config.json").read_text())
    (tmp_path / "small.json").write_text(
        json.dumps({**config, "text_config": {**config["text_config"], "vocab_size": 100}})
    )
    with pytest.raises(UsageError, match=r"has \d+ tokens, and the config a vocabulary of 100"):
        prepared(tmp_path / "small.json", tmp_path / "small")
    (tmp_path / "shifted.json").write_text(json.dumps({**config, "image_token_id": 7}))
    with pytest.raises(UsageError, match="and the config says 7"):
        prepared(tmp_path / "shifted.json", tmp_path / "shifted", tokenizer=qwen2vl)


# Processes, memory, report -------------------------------------------------------------------------------------------


def test_peak_memory_counts_children_and_what_was_given_back() -> None:
    grow = "bytearray(120 * 2**20); import sys; print(flush=True); sys.stdin.read()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grow!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=uncovered()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    assert 120 < peak_host_mib(process.pid) < 400
    process.stdin.close()
    process.stdout.close()
    process.wait()
    assert peak_host_mib(process.pid) == 0.0
    assert DeviceLedger("cpu").peak_mib("anything") is None


def test_what_a_contenders_process_raises_arrives(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"transformers: .*nowhere: no such checkpoint folder"):
        ContenderProcess(setup_of("transformers", tmp_path / "nowhere"))


def entry(name: str, seconds: list[float], logits: list[float], *, peer: bool = False) -> Entry:
    rounds = [Round(each, 1, [[logits, logits]], 100, {"decode": each / 2}) for each in seconds]
    return Entry(name, peer, rounds, 1.0, 50.0, None, {})


def reported(*entries: Entry) -> dict[str, Any]:
    works = [Work(10, (2, 2), (4,))]
    return report_of(entries, works=works, flops=[1000], rate=1e4, model="m", source="s", device="cpu", dtype="float32")


def test_the_report_compares_round_by_round_and_flags_a_difference(tmp_path: Path) -> None:
    report = reported(
        entry("mine", [1.0, 2.0, 4.0], [0.0, 2.0]),
        entry("theirs", [2.0, 8.0, 12.0], [0.0, 2.0005], peer=True),
        entry("wrong", [1.0, 1.0, 1.0], [0.0, 2.5], peer=True),
        entry("shorter", [1.0, 1.0, 1.0], [0.0], peer=True),
    )
    mine, theirs, wrong, shorter = report["rows"]
    assert mine["seconds"] == 2.0
    assert mine["samples_per_second"] == 0.5
    assert mine["samples_per_second_range"] == [0.25, 1.0]
    assert mine["tokens_per_second"] == 50.0
    assert mine["ratios"]["theirs"] == {"median": 3.0, "least": 2.0, "most": 4.0}
    assert mine["roofline_share"] == pytest.approx(0.05)
    assert mine["stages"] == {"startup": 1.0, "decode": 1.0}
    assert [row["agrees"] for row in report["rows"]] == [True, True, False, False]
    assert theirs["largest_logit_difference"] == pytest.approx(5e-4)
    assert wrong["largest_logit_difference"] == pytest.approx(0.5)
    assert shorter["largest_logit_difference"] is None
    assert [len(table.columns) for table in tables_of(report)] == [11, 3]
    pytest.importorskip("matplotlib")
    write_plot(report, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_recorded_result_names_machine_versions_and_command(tmp_path: Path) -> None:
    report = reported(entry("mine", [1.0], [0.0, 2.0]), entry("theirs", [2.0], [0.0, 2.0], peer=True))
    (tmp_path / "trial.jsonl").write_text(json.dumps(report) + "\n" + json.dumps(report) + "\n")
    script = Path(__file__).resolve().parents[2] / "bench" / "record.py"
    subprocess.run([sys.executable, script, "trial", "--out", tmp_path], check=True)
    page = (tmp_path / "trial.md").read_text()
    assert page.count(f"    {report['command']}\n") == 2
    assert f"python {report['machine']['python']}" in page
    assert f"torch {report['versions']['torch']}" in page
    assert page.count("x theirs") == 2


def test_a_plot_that_cannot_be_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no folder"):
        check_plot(tmp_path / "nowhere" / "x.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install '.\[plot\]'"):
        check_plot(tmp_path / "x.png")


# The command ---------------------------------------------------------------------------------------------------------


def in_a_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """As users run it: the report names the command that was given."""
    command = [sys.executable, "-m", "radar_fast", "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)


def check_rows(report: dict[str, Any], names: list[str], samples: int) -> None:
    assert [row["name"] for row in report["rows"]] == names
    for row in report["rows"]:
        assert row["samples_per_second"] == pytest.approx(samples / row["seconds"])
        assert row["tokens_computed"] > 0
        assert row["peak_memory_mib"] > 100
        assert 0 < row["roofline_share"] < 1
        assert row["agrees"]
        assert row["largest_logit_difference"] < 1e-4
        assert row["stages"]["startup"] > 0
        assert row["stages"]["write"] >= 0


@pytest.mark.full
def test_the_command_on_generated_pictures(tmp_path: Path) -> None:
    small = ("--min-pixels", PIXELS["min_pixels"], "--max-pixels", PIXELS["max_pixels"], "--size", "40-160")
    arguments = ("--model", "demo", "--samples", 4, "--rounds", 1, "--device", "cpu", *small)
    # The fake engine is right about nothing but the shape, and is to be flagged.
    result = in_a_process(*arguments, "--engines", "transformers,fake", "--plot", tmp_path / "x.png")
    assert result.returncode == 1, result.stdout + result.stderr
    *tables, line = result.stdout.strip().splitlines()
    report = json.loads(line)
    fake = report["rows"].pop(1)
    assert fake["name"] == "fake"
    assert not fake["agrees"]
    assert "DISAGREES" in result.stdout
    check_rows(report, ["transformers", "published"], 4)
    assert report["candidates"] == 4
    assert report["rows"][0]["tokens_computed"] < report["rows"][1]["tokens_computed"]
    assert set(report["rows"][0]["ratios"]) == {"published"}
    assert report["command"].startswith("radar-fast bench --model demo")
    assert "x published" in "\n".join(tables)
    assert (tmp_path / "x.png").stat().st_size > 1000


@pytest.mark.full
def test_vllm_beside_its_peer_on_a_benchmark(demo: Path, tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")
    data = write_jsonl(tmp_path / "data")
    model = demo / "checkpoints" / "step-1600"
    small = ("--min-pixels", PIXELS["min_pixels"], "--max-pixels", PIXELS["max_pixels"])
    arguments = ("--model", model, "--data", data, "--candidates", 3, "--samples", 4, "--rounds", 1, *small)
    result = run_cli("bench", *arguments, "--engines", "vllm", "--peers", "vllm-prompt-logprobs", "--device", "cpu")
    assert result.exit_code == 0, result.stdout + result.stderr
    report = json.loads(result.stdout.strip().splitlines()[-1])
    check_rows(report, ["vllm", "vllm-prompt-logprobs"], 4)
    assert report["candidates"] == 3
    # Each of the two rounds did the whole work: nothing of the warm-up was left in a cache.
    assert report["rows"][0]["settings"]["images_encoded"] == 2 * 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engines": ("magic",)}, r"--engines magic: unknown; it is one of vllm, transformers, http, fake"),
        ({"peers": ("magic",)}, r"--peers magic: unknown; it is one of published, per-candidate"),
        ({"peers": ("published", "published")}, "each can be named once"),
        ({"engines": (), "peers": ()}, "both are empty"),
        ({"candidates": 1}, "--candidates 1: must be at least 2"),
        ({"rounds": 0}, "--rounds 0: must be at least 1"),
        ({"size": (300, 200)}, "--size 300-200"),
        ({"options": EngineOptions(arguments={"seed": "1"})}, "--engine-arg: for vllm, vllm-prompt-logprobs"),
        ({"plot": Path("x.svg")}, "--plot x.svg: a PNG is written"),
    ],
)
def test_options_that_cannot_be_right(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BenchConfig(model="demo", **changes)


def test_errors_are_one_line(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", 3)
    for arguments, words in (
        (("--model", "demo", "--data", data, "--candidates", 9), "no sample with at least 9 candidates"),
        (("--model", "demo", "--size", "big"), "--size big: is not of the form A-B"),
    ):
        result = run_cli("bench", *arguments)
        assert result.exit_code == 2, result.stdout + result.stderr
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_a_contender_that_dies_is_an_error_of_ours(qwen2vl: Path, pictures: list[Sample], tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    write_samples(pictures, file)
    with ContenderProcess(setup_of("fake", qwen2vl)) as contender:
        contender._process.kill()
        with pytest.raises(EngineError, match=r"fake: its process ended with status -9"):
            contender.score(file, tmp_path)
