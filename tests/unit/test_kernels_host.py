"""What the kernels' host functions promise: imports, the choice of implementation, clear errors, bounded memory."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from radar_fast.kernels import runtime
from radar_fast.kernels.linear_log_softmax_gather import (
    linear_log_softmax_gather,
    linear_log_softmax_partials,
    merge_shards,
)
from radar_fast.kernels.log_softmax_gather import log_softmax_gather, log_softmax_gather_rank

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "kernels").glob("*.py"))

HIDDEN, WEIGHT, TARGETS = torch.zeros(2, 4), torch.zeros(9, 4), torch.tensor([0, 1])


def fresh(code: str) -> str:
    """Run in a process of its own, without the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_kernels_import_torch_and_triton_only(path: Path) -> None:
    ours = {"torch", "triton", "radar_fast.kernels"}
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            known = name.split(".")[0] in sys.stdlib_module_names or any(
                name == one or name.startswith(one + ".") for one in ours
            )
            assert known, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_exports_are_there(path: Path) -> None:
    module = __import__(f"radar_fast.kernels.{path.stem}", fromlist=["__all__"])
    assert list(module.__all__) == sorted(
        module.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)
    )
    for name in module.__all__:
        assert hasattr(module, name)


def test_without_triton_the_twins_serve() -> None:
    fresh(
        "import sys; sys.modules['triton'] = None\n"
        "import torch\n"
        "from radar_fast.kernels.linear_log_softmax_gather import linear_log_softmax_gather as k2\n"
        "from radar_fast.kernels.log_softmax_gather import log_softmax_gather as k1\n"
        "logit, logprob = k2(torch.ones(2, 4), torch.ones(9, 4), torch.tensor([0, 8]))\n"
        "assert logit.tolist() == [4.0, 4.0]\n"
        "assert torch.allclose(logprob, torch.full((2,), -9.0).abs().log().neg())\n"
        "k1(torch.ones(2, 4), torch.tensor([0, 3]))\n"
        "try: k1(torch.ones(2, 4), torch.tensor([0, 3]), impl='triton')\n"
        "except RuntimeError as error: assert 'triton is not installed' in str(error)\n"
        "else: raise SystemExit('no error')\n"
    )


def test_auto_is_torch_on_a_cpu_and_triton_refuses_it() -> None:
    pytest.importorskip("triton")
    fresh(
        "import torch\n"
        "from radar_fast.kernels.runtime import choose\n"
        "cpu = torch.device('cpu')\n"
        "assert choose('auto', cpu) == choose('torch', cpu) == 'torch'\n"
        "try: choose('triton', cpu)\n"
        "except RuntimeError as error: assert 'TRITON_INTERPRET=1' in str(error)\n"
        "else: raise SystemExit('no error')\n"
    )


def test_a_gpu_without_triton_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runtime, "triton", None)
    monkeypatch.setattr(runtime, "_warned", set())
    for _ in range(2):
        assert runtime.choose("auto", torch.device("cuda")) == "torch"
    assert [record.message for record in caplog.records] == [
        "no fused kernels: triton is not installed; using torch instead, which is slower"
    ]


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ValueError, "impl='cuda': one of auto, triton, torch", {"impl": "cuda"}),
        (ValueError, "hidden has shape", {"hidden": torch.zeros(4)}),
        (TypeError, "hidden is torch.float64", {"hidden": HIDDEN.double()}),
        (TypeError, "one dtype is wanted", {"hidden": HIDDEN.bfloat16()}),
        (ValueError, r"\[N, D\] and \[V, D\] are wanted", {"hidden": torch.zeros(2, 5)}),
        (ValueError, "weight has strides", {"weight": torch.zeros(4, 9).t()}),
        (ValueError, "bias has 8 values, weight 9 rows", {"bias": torch.zeros(8)}),
        (ValueError, "bias is on meta", {"bias": torch.zeros(9, device="meta")}),
        (ValueError, "softcap=0.0", {"softcap": 0.0}),
        (ValueError, "scale=nan", {"scale": float("nan")}),
        (ValueError, "10 rows of the weight are to be vocabulary, of 9", {"vocab_size": 10}),
        (ValueError, "no rows of vocabulary", {"vocab_size": 0}),
        (ValueError, r"\[2\] or \[2, K\] is wanted", {"targets": torch.tensor([1])}),
        (TypeError, "int64 or int32", {"targets": torch.zeros(2)}),
        (ValueError, "targets is on meta", {"targets": torch.zeros(2, dtype=torch.int64, device="meta")}),
    ],
)
def test_wrong_arguments_are_named(error: type[Exception], match: str, arguments: dict[str, object]) -> None:
    given = {"hidden": HIDDEN, "weight": WEIGHT, "targets": TARGETS, **arguments}
    hidden, weight, targets = given.pop("hidden"), given.pop("weight"), given.pop("targets")
    with pytest.raises(error, match=match):
        linear_log_softmax_gather(hidden, weight, targets, **given)  # type: ignore[arg-type]


def test_wrong_arguments_of_the_other_functions_are_named() -> None:
    with pytest.raises(ValueError, match="logits has no columns"):
        log_softmax_gather(torch.zeros(2, 0), TARGETS)
    with pytest.raises(ValueError, match=r"\[2\] is wanted"):
        log_softmax_gather_rank(torch.zeros(2, 5), TARGETS[:, None])
    with pytest.raises(ValueError, match="vocab_start=-1"):
        linear_log_softmax_partials(HIDDEN, WEIGHT, TARGETS, vocab_start=-1)
    with pytest.raises(ValueError, match="target -3 is out of range: 0 or more"):
        linear_log_softmax_partials(HIDDEN, WEIGHT, torch.tensor([-3, 0]))
    with pytest.raises(ValueError, match="at least one shard"):
        merge_shards([], TARGETS)
    with pytest.raises(ValueError, match="shard 0 has logits"):
        merge_shards([linear_log_softmax_partials(HIDDEN, WEIGHT, TARGETS)], TARGETS[:1])


GROWTH = """
import resource, torch
from torch import nn
from radar_fast.engines.head import LogitScaling, token_scores
from radar_fast.kernels.log_softmax_gather import log_softmax_gather
torch.set_num_threads(1)

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

V = 151936
head = nn.Linear(16, V, bias=False).requires_grad_(False)
def score(n):
    rows = torch.arange(n)
    token_scores(torch.randn(n, 16), head, LogitScaling(object()), rows, torch.randint(0, V, (n,)))

with torch.inference_mode():
    score(64)
    before = peak()
    score(2048)
    fused = peak() - before
    logits = torch.randn(256, V)
    before = peak()
    log_softmax_gather(logits, torch.randint(0, V, (256,)))
    gathered = peak() - before
print(fused, gathered)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KiB on Linux")
def test_scoring_needs_no_memory_for_logits() -> None:
    """2048 rows of 151,936 logits would be 1187 MiB in fp32, 256 rows 148 MiB."""
    fused, gathered = map(float, fresh(GROWTH).split())
    assert fused < 64, f"{fused:.0f} MiB more for 2048 rows"
    assert gathered < 32, f"{gathered:.0f} MiB more beside 256 rows of logits"
