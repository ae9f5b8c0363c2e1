"""lm-evaluation-harness with our model in it, against its own ``hf`` on the same local tasks."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval")

from harness_tasks import TASKS, write_tasks
from lm_eval import simple_evaluate
from lm_eval.api import registry
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from PIL import Image
from plain import TAG, PlainLoop, Question
from tiny import ROLE_TEMPLATE, SPECIAL, write_tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

from radar_fast.errors import DataError
from radar_fast.harness import RadarLM

pytestmark = pytest.mark.full

BOUND = 1e-4
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny text model, with room for 96 tokens, so that some contexts are cut."""
    folder = tmp_path_factory.mktemp("causal") / "tiny-qwen2"
    folder.mkdir()
    tokenizer = write_tokenizer(folder, ROLE_TEMPLATE)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=96,
        eos_token_id=tokenizer.convert_tokens_to_ids(SPECIAL[0]),
    )
    model = Qwen2ForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder


def answers(model: Any, tasks: Path, arguments: str = "") -> dict[str, list[Any]]:
    """Task -> what the model answered each request of each document, in order."""
    found = simple_evaluate(
        model=model,
        model_args=arguments,
        tasks=list(TASKS),
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
        random_seed=0,
        fewshot_random_seed=0,
    )
    return {
        task: [sample["resps"] for sample in sorted(samples, key=lambda sample: sample["doc_id"])]
        for task, samples in found["samples"].items()
    }


def flat(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from flat(each)
    else:
        yield float(value)


def apart(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> float:
    assert set(one) == set(other) == set(TASKS)
    mine, theirs = list(flat(list(one.values()))), list(flat([other[task] for task in one]))
    assert len(mine) == len(theirs) > 100
    return max(abs(a - b) for a, b in zip(mine, theirs, strict=True))


def test_every_answer_is_that_of_hf(causal: Path, tmp_path: Path) -> None:
    """Choices, few shots with contexts that are cut and end in spaces, last words, rolling windows; whether they are
    greedy too."""
    tasks = write_tasks(tmp_path / "tasks", words=30)
    arguments = f"pretrained={causal},dtype=float32,device=cpu"
    theirs = answers("hf", tasks, arguments)
    mine = answers("radar-fast", tasks, f"{arguments},batch_tokens=512")
    assert apart(mine, theirs) <= BOUND


def test_a_multimodal_checkpoint_too(qwen2vl: Path, tmp_path: Path) -> None:
    """``hf`` cannot load it; given the model it can."""
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    tasks = write_tasks(tmp_path / "tasks", questions=8)
    model = AutoModelForImageTextToText.from_pretrained(qwen2vl, dtype=torch.float32)
    theirs = answers(HFLM(model, backend="causal", tokenizer=AutoTokenizer.from_pretrained(qwen2vl)), tasks)
    mine = answers("radar-fast", tasks, f"pretrained={qwen2vl},dtype=float32,device=cpu")
    assert apart(mine, theirs) <= BOUND


def test_questions_with_images(qwen2vl: Path, tmp_path: Path) -> None:
    """As the plain loop has them, one candidate at a time."""
    model = RadarLM(str(qwen2vl), dtype="float32", device="cpu")
    picture = Image.effect_mandelbrot((120, 90), (-2, -1, 1, 1), 20).convert("RGB")
    file = tmp_path / "picture.png"
    picture.save(file)
    words = [" red", " dark blue", " a hexagon"]
    context = "<image>What is the colour?"
    requests = [
        Instance("loglikelihood", {}, (context, word, {"visual": [picture]}), index) for index, word in enumerate(words)
    ]
    said = model.loglikelihood(requests)
    assert model._passes._forward.packed  # the continuations have shared a pass, at the positions of an image
    loop = PlainLoop(qwen2vl, 256 * 28 * 28, 768 * 28 * 28)
    question = Question("t", "1", context.replace("<image>", TAG), [file], [word.strip() for word in words])
    _, logprobs = loop(question)
    assert [one for one, _ in said] == pytest.approx([sum(each) for each in logprobs], abs=BOUND)
    with pytest.raises(DataError, match="1 images and 2 <image>"):
        model.loglikelihood([Instance("loglikelihood", {}, ("<image><image>?", " a", {"visual": [picture]}), 0)])


def tiny_choice(causal: Path, folder: Path, *command: str, **more: str) -> None:
    """The harness's command line, which must come to results of a local task with our model."""
    tasks, out = write_tasks(folder / "tasks", questions=4), folder / "out"
    words = ["--model", "radar-fast", "--model_args", f"pretrained={causal},dtype=float32", "--device", "cpu"]
    words += ["--include_path", str(tasks), "--tasks", "tiny_choice", "--output_path", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", *command, *words],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests/support'}:{ROOT}", **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    [written] = out.rglob("results_*.json")
    assert "acc,none" in json.loads(written.read_text())["results"]["tiny_choice"]


def test_the_harness_own_command_knows_it(causal: Path, tmp_path: Path) -> None:
    tiny_choice(causal, tmp_path, "radar_fast.harness", "run")


def entry_point() -> tuple[str, str]:
    """Name and value of ours in the group ``lm_eval.models``."""
    [named] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["lm_eval.models"].items()
    return named


def test_the_entry_point_is_the_class_that_is_registered() -> None:
    name, value = entry_point()
    assert get_model(name) is EntryPoint(name, value, "lm_eval.models").load() is RadarLM
    assert value == f"{RadarLM.__module__}:{RadarLM.__qualname__}"  # or the harness takes the two for two models


@pytest.mark.skipif(not hasattr(registry, "load_plugins"), reason="this lm-eval reads no entry points")
def test_lm_eval_finds_it_by_itself(causal: Path, tmp_path: Path) -> None:
    info = tmp_path / "installed" / "radar_fast-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: radar-fast\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[lm_eval.models]\n{} = {}\n".format(*entry_point()))
    path = os.pathsep.join([str(info.parent), *map(str, (ROOT / "tests/support", ROOT)), os.environ["PYTHONPATH"]])
    tiny_choice(causal, tmp_path, "lm_eval", "run", PYTHONPATH=path)
