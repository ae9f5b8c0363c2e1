"""Seeded mutations: the same random numbers, the same attack."""

import json
import random
from collections.abc import Callable
from typing import Any

__all__ = ["mutated_bytes", "mutated_json", "nasty"]

_DIGITS = "7" * 5000

_NASTY: tuple[Callable[[random.Random], Any], ...] = (
    lambda _: None,
    lambda rng: rng.choice([True, False]),
    lambda rng: rng.choice([0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**300, 10**400]),
    lambda rng: rng.choice([0.0, -0.0, 1e-320, 1.7e308, -1.7e308, 0.5]),
    lambda rng: rng.choice(
        ["", " ", "\0", "\ud800", "\udcff", "\ud83d", "\u202e", "\x1b[31m", "a\nb", "..", "/", "a/../b"]
    ),
    lambda rng: rng.choice("xé鳥") * rng.choice([255, 256, 300, 5000]),
    lambda rng: rng.choice(["__class__", "{0.__class__}", "%s%n", "$(id)", "<script>", "'; --"]),
    lambda _: [],
    lambda _: {},
    lambda _: [[[[]]]],
    lambda _: {"": {"": None}},
    lambda rng: [0] * rng.choice([1, 100, 10_000]),
)

_PUT_IN = (b"\0", b"\xff\xfe", b"\xed\xa0\x80", b'"', b"{", b"[" * 2000, b"\n", b"\r\n", b"NaN", b"1e999")


def nasty(rng: random.Random) -> Any:
    """A value that nobody means: of another type, beyond 64 bits, no text, very long."""
    return rng.choice(_NASTY)(rng)


def mutated_json(rng: random.Random, value: Any) -> Any:
    """A copy of JSON in which one to three things are not as they were: replaced, missing, twice, of another key."""
    copy = json.loads(json.dumps(value))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        copy = _once(rng, copy)
    return copy


def _once(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        how = rng.random()
        if how < 0.1:
            del value[key]
        elif how < 0.2:
            value[str(nasty(rng))] = value.pop(key)
        else:
            value[key] = _once(rng, value[key])
        return value
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        how = rng.random()
        if how < 0.2:
            del value[place]
        elif how < 0.4:
            value.insert(place, value[place])
        else:
            value[place] = _once(rng, value[place])
        return value
    return nasty(rng)


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """A copy of a file in which bytes are flipped, cut, repeated or put in, or a number has grown."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.randrange(len(data) + 1)
        end = min(len(data), place + rng.choice([1, 1, 2, 8, 64]))
        how = rng.randrange(7)
        if how == 0:
            data = data[:place] + bytes(rng.randrange(256) for _ in range(end - place)) + data[end:]
        elif how == 1:
            data = data[:place]
        elif how == 2:
            data = data[:place] + data[end:]
        elif how == 3:
            data = data[:end] + data[place:end] * rng.choice([1, 2, 100]) + data[end:]
        elif how == 4:
            data = data[:place] + rng.choice(_PUT_IN) + data[place:]
        elif how == 5:
            digits = [at for at, byte in enumerate(data) if 48 <= byte < 58]
            if digits:
                at = rng.choice(digits)
                data = data[:at] + _DIGITS.encode()[: rng.choice([20, 400, 5000])] + data[at:]
        else:
            lines = data.splitlines(keepends=True)
            rng.shuffle(lines)
            data = b"".join(lines)
    return data
