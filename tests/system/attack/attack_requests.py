"""Requests to ``vllm serve``, as far as they come without a server: bounded, read, decoded, tokenised and planned."""

import base64
import importlib.util
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import attack_mutations as mutations
import orjson
from attack_frame import Attack, MismatchError
from attack_images import picture

__all__ = ["ATTACKS"]

_WORDS = ("a", "cat ", "\n", "鳥", "<|image_pad|>", "<|im_end|>", "\u202e", "0")


def _request(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(["PNG", "JPEG", "GIF", "WEBP"])
    url = f"data:image/{kind.lower()};base64,{base64.b64encode(picture(rng, kind)).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
    return {"model": "step-800", "data": {"parts": parts, "candidates": ["a cat", "a dog"], "answer": 0}}


def _many(rng: random.Random) -> dict[str, Any]:
    """As much of something as a request may hold, or more."""
    asked = _request(rng)
    data, word = asked["data"], rng.choice(_WORDS)
    count = rng.choice([10, 200, 5000, 60_000])
    how = rng.randrange(5)
    if how == 0:
        data["candidates"] = [word * rng.choice([1, 50]) + str(number) for number in range(min(count, 300))]
    elif how == 1:
        data["candidates"] = [word * count, "b"]
    elif how == 2:
        data["parts"][1]["text"] = word * count
    elif how == 3:
        data["parts"] = data["parts"][:1] * min(count, 17) + data["parts"][1:]
    else:
        data["parts"] += data["parts"][1:] * min(count, 5000)
    return asked


@cache
def _prepared() -> tuple[Any, Any]:
    """An encoder of the demo's checkpoint, and its protocol."""
    import torch

    import radar_fast.engines.vllm.serving  # noqa: F401 - takes seconds, once
    from radar_fast.demo.series import COMMON
    from radar_fast.engines.encode.encoder import Encoder
    from radar_fast.models.checkpoint import Checkpoint
    from radar_fast.protocols import open_protocol

    checkpoint = Checkpoint.open(COMMON)
    protocol = open_protocol("auto", checkpoint)
    return Encoder(checkpoint, protocol, torch.float32), protocol


def _ask(body: bytes) -> None:
    from radar_fast.engines.vllm.limits import Limits
    from radar_fast.engines.vllm.questions import parse_question
    from radar_fast.engines.vllm.requests import plan_requests
    from radar_fast.sample import Reason, Sample

    encoder, protocol = _prepared()
    limits = Limits()
    limits.check_body(body)
    asked = orjson.loads(body)
    if not isinstance(asked, dict):
        raise ValueError("no object")
    question = parse_question(asked.get("data"), limits)
    wanted = asked["data"]
    if list(question.candidates) != wanted["candidates"] or len(question.parts) != len(wanted["parts"]):
        raise MismatchError("another question than was asked")
    prompt = protocol.prompt(Sample("r", "s", "s", "other", question.parts, question.candidates, question.answer or 0))
    images = encoder.read_images(prompt, limits.seconds)
    tokens = encoder.tokenise(prompt)
    for found in (images, tokens):
        if isinstance(found, Reason):
            raise ValueError(str(found))
    split = tokens.split
    limits.check("tokens", sum(split.shared + len(suffix) for suffix in split.suffixes))
    plan = plan_requests(split.suffixes, split.scored_from)
    if len(plan.places) != len(question.candidates):
        raise MismatchError(f"{len(plan.places)} candidates planned of {len(question.candidates)}")


def request_values(rng: random.Random, path: Path) -> None:  # noqa: ARG001 - no files
    """JSON with values that nobody means."""
    _ask(json.dumps(mutations.mutated_json(rng, _request(rng))).encode())


def request_bytes(rng: random.Random, path: Path) -> None:  # noqa: ARG001
    """Damaged bytes."""
    _ask(mutations.mutated_bytes(rng, json.dumps(_request(rng)).encode()))


def request_large(rng: random.Random, path: Path) -> None:  # noqa: ARG001
    """Well formed, and large."""
    _ask(json.dumps(_many(rng)).encode())


def _prepare() -> None:
    _prepared()


ATTACKS: tuple[Attack, ...] = (
    (
        Attack("request, values", request_values, (ValueError,), _prepare),
        Attack("request, bytes", request_bytes, (ValueError,), _prepare),
        Attack("request, large", request_large, (ValueError,), _prepare),
    )
    if importlib.util.find_spec("vllm")
    else ()
)
