"""Token scores against fp64, in one slab and in many."""

import pytest
import torch
from torch import nn

from radar_fast.engines import head as module
from radar_fast.engines.head import LogitScaling, token_scores


class Config:
    """A text config with what a test gives it."""

    def __init__(self, **values: float) -> None:
        self.__dict__.update(values)


class Wrapped(nn.Linear):
    """A head that may do more than its weight says: only its logits can be had."""


@pytest.mark.parametrize("chunk", [256 * 2**20, 4 * 507 * 3, 1])
@pytest.mark.parametrize(
    "config", [Config(), Config(final_logit_softcapping=5.0), Config(logit_scale=0.25), Config(logits_scaling=8.0)]
)
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("kind", [nn.Linear, Wrapped], ids=["fused", "by logits"])
def test_against_fp64(
    chunk: int, config: Config, offset: float, kind: type[nn.Linear], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk)
    torch.manual_seed(0)
    hidden, head = torch.randn(7, 16), kind(16, 507)
    nn.init.constant_(head.bias, offset)
    rows, targets = torch.tensor([0, 0, 3, 6, 6, 2]), torch.tensor([0, 506, 9, 9, 10, 0])
    with torch.inference_mode():
        logits, logprobs = token_scores(hidden, head, LogitScaling(config), rows, targets)
        full = head.double()(hidden.double())
    if hasattr(config, "final_logit_softcapping"):
        full = 5.0 * torch.tanh(full / 5.0)
    full = full * getattr(config, "logit_scale", 1.0) / getattr(config, "logits_scaling", 1.0)
    expected = full[rows].gather(1, targets[:, None])[:, 0]
    # fp32 logits of size 1e4 are 1e-3 apart; what matters is that log-probabilities lose no more than that.
    tolerance = 2e-5 + 2e-7 * offset
    torch.testing.assert_close(logits.double(), expected, atol=tolerance, rtol=1e-6)
    wanted = full.log_softmax(-1)[rows].gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(logprobs.double(), wanted, atol=tolerance, rtol=1e-6)


def test_a_certain_token_has_logprob_zero_and_never_above() -> None:
    head = nn.Linear(4, 9)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0] * 8 + [1000.0]))
    _, logprobs = token_scores(torch.ones(3, 4), head, LogitScaling(Config()), torch.arange(3), torch.tensor([8] * 3))
    assert logprobs.tolist() == [0.0] * 3


def test_a_head_with_a_hook_is_asked_for_its_logits() -> None:
    head = nn.Linear(4, 9)
    head.register_forward_hook(lambda _module, _inputs, output: 2.0 * output)
    hidden, targets = torch.randn(3, 4), torch.tensor([8, 0, 1])
    with torch.inference_mode():
        logits, _ = token_scores(hidden, head, LogitScaling(Config()), torch.arange(3), targets)
        expected = head(hidden).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(logits, expected)


def test_no_rows_give_no_scores() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    logits, logprobs = token_scores(torch.zeros(0, 4), nn.Linear(4, 9), LogitScaling(Config()), nothing, nothing)
    assert logits.shape == logprobs.shape == (0,)
