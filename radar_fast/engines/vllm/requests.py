"""A sample's candidates -> the fewest vLLM requests that compute every row its scores need.

Candidates are paths in a tree of tokens below the shared prefix. The row that a token is looked up at belongs to the
path before it, and candidates that begin alike share it: the first of them computes it, and is asked for the tokens of
all. So no request needs a row that lies in a sibling's cached blocks (the prefix's last row above all, which every
candidate needs for its first token), a candidate's last token is never computed, and a candidate of one token, or one
that equals another, needs no request of its own.

Pure: token ids in, token ids out, no vLLM.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from PIL import Image

__all__ = ["ANSWER_TOKENS", "TARGETS", "Plan", "Request", "image_uuid", "plan_requests"]

ANSWER_TOKENS = "answer_tokens"
"""The request's ``extra_kwargs`` entry with the number of its answer tokens."""

TARGETS = "targets"
"""The request's ``extra_kwargs`` entry with the ids to look up at each of its last rows."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: the shared prefix, ``suffix``, and the tokens to look up at its last rows."""

    suffix: tuple[int, ...]
    """Token ids after the shared prefix; may be empty."""
    targets: tuple[tuple[int, ...], ...]
    """For each of the last rows: ids of the tokens to look up there."""

    @property
    def lookups(self) -> int:
        """How many scores it returns."""
        return sum(map(len, self.targets))


@dataclass(frozen=True, slots=True)
class Plan:
    """The requests of a sample, and where its candidates' scores will be."""

    requests: tuple[Request, ...]
    """At least one, at most one per candidate; to be submitted in this order."""
    places: tuple[tuple[tuple[int, int], ...], ...]
    """A candidate, an answer token: (request, index into the scores it returns)."""


def plan_requests(suffixes: Sequence[Sequence[int]], scored_from: int) -> Plan:
    """Plan the requests of a sample, in time and memory linear in its tokens.

    Args:
        suffixes: a candidate: its token ids after the shared prefix; more than ``scored_from`` of them.
        scored_from: index in every suffix of the first token that is scored.
    """
    tree: dict[tuple[int, int], int] = {}  # (path, token) -> the path that goes on with it; paths are numbered, 0: root
    owners: dict[int, tuple[int, int]] = {}  # path -> the request that computes its row, and which row
    rows: list[list[dict[int, int]]] = []  # a request, a row: token to look up -> its place in the row
    suffixes_of: list[tuple[int, ...]] = []
    asked: list[list[tuple[int, int, int]]] = []  # a candidate, an answer token: request, row, place in the row
    for suffix in suffixes:
        mine: list[dict[int, int]] = []
        candidate = []
        path = 0
        for index, token in enumerate(suffix):
            if index >= scored_from:
                if path not in owners:
                    owners[path] = (len(rows), len(mine))
                    mine.append({})
                request, row = owners[path]
                targets = mine[row] if request == len(rows) else rows[request][row]
                candidate.append((request, row, targets.setdefault(token, len(targets))))
            path = tree.setdefault((path, token), len(tree) + 1)
        if mine:
            rows.append(mine)
            suffixes_of.append(tuple(suffix[:-1]))
        asked.append(candidate)
    starts = [[0, *accumulate(map(len, mine))] for mine in rows]
    places = tuple(tuple((request, starts[request][row] + place) for request, row, place in each) for each in asked)
    requests = tuple(Request(suffix, tuple(map(tuple, mine))) for suffix, mine in zip(suffixes_of, rows, strict=True))
    return Plan(requests, places)


def image_uuid(image: Image.Image) -> str:
    """What tells one image from another in vLLM's caches: its size and pixels, as the processor gets them."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=16)
    digest.update(repr((image.size, image.mode)).encode())
    return digest.hexdigest()
