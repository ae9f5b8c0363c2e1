"""From a model's output to the scores, the host asks the device for nothing: one copy back a batch."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import nn
from waits import DEVICE, Waits

from radar_fast.engines.encode.encoder import Encoded
from radar_fast.engines.head import LogitScaling, token_scores
from radar_fast.engines.transformers.forward import Forward
from radar_fast.engines.transformers.timing import DeviceTimer
from radar_fast.sample import Prompt, Sample
from radar_fast.util.clock import Clock

WIDTH, VOCABULARY = 8, 23


class Wrapped(nn.Linear):
    """A head that may do more than its weight says: only its logits can be had."""


@pytest.mark.parametrize(
    ("wait", "name"),
    [
        (lambda rows: int(rows.sum()), "_local_scalar_dense"),
        (lambda rows: bool((rows > 0).any()), "_local_scalar_dense"),
        (lambda rows: rows.bincount(), "bincount"),
        (lambda rows: torch.unique(rows, return_inverse=True), "_unique2"),
        (lambda rows: rows.cpu(), "copy to the host"),
        (lambda rows: rows[rows > 0], "index by a mask"),
    ],
    ids=["int", "bool", "bincount", "unique", "cpu", "mask"],
)
def test_what_waits_is_seen(wait: Callable[[torch.Tensor], Any], name: str) -> None:
    rows = torch.zeros(3, dtype=torch.int64, device=DEVICE)
    # Of a device without values nothing can be had, but it was asked for.
    with Waits() as waits, suppress(NotImplementedError, RuntimeError):
        wait(rows)
    assert waits.waited[0] == name


@pytest.mark.parametrize("kind", [nn.Linear, Wrapped], ids=["fused", "by logits"])
def test_token_scores_wait_for_nothing(kind: type[nn.Linear]) -> None:
    head = kind(WIDTH, VOCABULARY, device=DEVICE)
    rows, targets = torch.tensor([0, 0, 3, 6, 6, 2]), torch.tensor([0, 22, 9, 9, 10, 0])
    with torch.inference_mode(), Waits() as waits:
        found = token_scores(torch.empty(7, WIDTH, device=DEVICE), head, LogitScaling(object()), rows, targets)
    assert [(one.shape, one.device) for one in found] == [((6,), DEVICE)] * 2
    assert waits.waited == []


def encoded(suffixes: tuple[tuple[int, ...], ...]) -> Encoded:
    sample = Sample("key", "task", "task", "other", ("question",), ("a", "b"), 0)
    return Encoded(
        prompt=Prompt(sample, ("question",), "", ("a", "b")),
        unexpanded=(1, 2, 3),
        prefix=(1, 2, 3),
        suffixes=suffixes,
        scored_from=0,
        inputs={},
        token_inputs={},
    )


def forward_on_device(monkeypatch: pytest.MonkeyPatch) -> Any:
    """All of it but the model, whose output has no values."""
    forward: Any = Forward.__new__(Forward)
    forward.attention, forward._device, forward._scaling = "dense", DEVICE, LogitScaling(object())
    forward.packed, forward.self_check_difference = True, 0.0
    forward._head = nn.Linear(WIDTH, VOCABULARY, device=DEVICE)
    forward._rope_index = None
    forward._timer = DeviceTimer(Clock(), torch.device("cpu"))
    monkeypatch.setattr(forward, "_hidden", lambda packed, _: torch.empty(*packed.ids.shape, WIDTH, device=DEVICE))
    return forward


def test_batches_are_begun_without_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits once, when its scores are fetched, and the next is begun before that."""
    waits = Waits()
    forward = forward_on_device(monkeypatch)
    with waits:
        first = forward.begin([encoded(((4, 5), (6, 7, 8)))])
        second = forward.begin([encoded(((4,), (9, 10)))])
        assert waits.waited == []
        assert [len(logits) for logits, _ in (*first(), *second())] == [5, 3]
    assert waits.waited == ["copy to the host"] * 2


def test_a_batch_is_copied_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = forward_on_device(monkeypatch)
    waits = Waits()

    def hidden(packed: Any, _: Any) -> torch.Tensor:
        waits.waited.clear()  # what is before the model's output is another matter
        return torch.empty(*packed.ids.shape, WIDTH, device=DEVICE)

    monkeypatch.setattr(forward, "_hidden", hidden)
    with torch.inference_mode(), waits:
        scores = forward._packed_scores([encoded(((4, 5), (6, 7, 8))), encoded(((4,), (9, 10)))])
    assert [len(logits) for logits, _ in scores] == [5, 3]
    assert waits.waited == ["copy to the host"]
