"""A sample as one vLLM request: its candidates are a tree below the shared prefix, computed in one packed sequence.

The request's token ids are

    head | nonce | nodes | filler

The *head* is the shared prefix without its last token. A *node* is a row of the candidates' tree: the prefix's last
token is its root, and a candidate's last token is no row. The *nonce* makes every block behind the head's whole blocks
unlike any other request's, so that the prefix cache can neither give these away nor reach past an answer. The *filler*
makes vLLM allocate as many blocks as the paths need. Neither nonce nor filler is ever computed.

vLLM's scheduler and block allocator see an ordinary request. In the worker every path of the tree is a sequence of its
own (:mod:`radar_fast.engines.vllm.packed_step`): the head's whole blocks, which all share, and then blocks of its own
with the head's remaining tokens and the path.

Pure: token ids in, token ids out, no vLLM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from radar_fast.engines.vllm.requests import Plan

__all__ = ["PACKED", "Layout", "Nonces", "PackedRequest", "ordinary_ids", "pack"]

PACKED = "packed"
"""The request's ``extra_kwargs`` entry with its layout."""

NONCE = 4
"""Token ids of a nonce."""

ALPHABET = 256
"""Token ids that a nonce is made of, at most."""

_SPREAD = 0x9E3779B1
"""Odd, so that times this is one to one modulo a power of two: consecutive nonces have nothing in common."""

_TRIES = 16


class Nonces:
    """Nonces of one engine: NONCE ordinary token ids each, never the same twice (in 65,536 requests at the least)."""

    def __init__(self, ordinary: Sequence[int]) -> None:
        """``ordinary``: token ids that mean nothing to the model's code: no image's place, no special token; 16 or
        more, of which a power of two is used."""
        size = min(ALPHABET, 1 << (len(ordinary).bit_length() - 1))
        if size < 16:
            raise ValueError(f"{len(ordinary)} ordinary token ids are too few for nonces")
        self._alphabet = list(ordinary[:size])
        self._serial = 0

    @property
    def filler(self) -> int:
        """A token id for rows that nothing is computed of."""
        return self._alphabet[0]

    def take(self, unlike: int) -> list[int]:
        """A new nonce, of which the first id is not ``unlike``: what stands there in the sample's plain requests."""
        size = len(self._alphabet)
        for _ in range(_TRIES):
            self._serial += 1
            number = self._serial * _SPREAD
            nonce = [self._alphabet[number // size**place % size] for place in range(NONCE)]
            if nonce[0] != unlike:
                return nonce
        raise AssertionError("an alphabet of one letter")


def ordinary_ids(tokenizer: Any, rows: int) -> list[int]:
    """Token ids below ``rows`` that a tokenizer did not add: no special token, no image's place. ALPHABET at most."""
    added = set(tokenizer.added_tokens_decoder) | set(tokenizer.all_special_ids)
    return list(islice((index for index in range(min(rows, len(tokenizer))) if index not in added), ALPHABET))


@dataclass(frozen=True, slots=True)
class Layout:
    """What the worker has to know of a packed request."""

    head: int
    """Tokens of the head."""
    first: int
    """Index of the root in the request."""
    length: int
    """Tokens of the request."""
    depth: np.ndarray
    """[nodes] int32: tokens between the head and a node."""
    sources: np.ndarray
    """[W] int32: what each path's own blocks hold, path after path: -t to -1 for the head's last t tokens, else the
    node."""
    places: np.ndarray
    """[W] int32: where that is, counted in tokens of the request's blocks."""
    paths: np.ndarray
    """[paths, 3] int32: nodes that the path computes (those that no earlier one has), nodes on it, and its first own
    block."""
    rows: np.ndarray
    """[T] int32: the node of each score that is wanted."""
    tokens: np.ndarray
    """[T] int32: the token whose score that is."""

    _ARRAYS = ("depth", "sources", "places", "paths", "rows", "tokens")

    def to_dict(self) -> dict[str, Any]:
        """For ``PoolingParams.extra_kwargs``: numbers and bytes, which travel to vLLM's process as they are."""
        numbers = {"head": self.head, "first": self.first, "length": self.length}
        return numbers | {name: getattr(self, name).tobytes() for name in self._ARRAYS}

    @classmethod
    def of(cls, extra_kwargs: Any) -> "Layout | None":
        """The layout that a request came with; None of a plain one."""
        said = (extra_kwargs or {}).get(PACKED)
        if said is None:
            return None
        arrays = {name: np.frombuffer(said[name], np.int32) for name in cls._ARRAYS}
        arrays["paths"] = arrays["paths"].reshape(-1, 3)
        return cls(said["head"], said["first"], said["length"], **arrays)


@dataclass(frozen=True, slots=True)
class PackedRequest:
    """A sample as one request."""

    prompt: list[int]
    """Its token ids."""
    layout: Layout
    rows: int
    """Rows that are computed where nothing is cached."""

    @property
    def sequences(self) -> int:
        """Sequences that the attention sees."""
        return len(self.layout.paths)


def pack(plan: Plan, prefix: Sequence[int], block: int, nonces: Nonces) -> PackedRequest:
    """Lay a sample out.

    Args:
        plan: its requests.
        prefix: token ids that they share, at least one; no image may reach its last.
        block: tokens in a block of the KV cache.
        nonces: the engine's.
    """
    head = len(prefix) - 1
    whole, tail = divmod(head, block)
    numbers: dict[tuple[int, int], int] = {}  # (node, token) -> the node that goes on with it
    nodes, depth = [prefix[head]], [0]
    sources: list[int] = []
    places: list[int] = []
    paths: list[tuple[int, int, int]] = []
    rows: list[int] = []
    tokens: list[int] = []
    at = whole
    for request in plan.requests:
        before = len(nodes) if paths else 0
        path = [0]
        for token in request.suffix:
            node = numbers.setdefault((path[-1], token), len(nodes))
            if node == len(nodes):
                nodes.append(token)
                depth.append(len(path))
            path.append(node)
        length = tail + len(path)
        paths.append((len(nodes) - before, len(path), at))
        sources += [*range(-tail, 0), *path]
        places += range(at * block, at * block + length)
        at += -(-length // block)
        for node, targets in zip(path[-len(request.targets) :], request.targets, strict=True):
            rows += [node] * len(targets)
            tokens += targets
    first = head + NONCE
    length = max(first + len(nodes), (at - 1) * block + 1)
    filler = [nonces.filler] * (length - first - len(nodes))
    arrays = (np.asarray(some, np.int32) for some in (depth, sources, places, paths, rows, tokens))
    prompt = [*prefix[:head], *nonces.take(prefix[head]), *nodes, *filler]
    return PackedRequest(prompt, Layout(head, first, length, *arrays), head + len(nodes))
