"""Which samples stand or fall together: those that show the same image, or belong to the same group.

Two questions about one picture are not two independent draws of how good a checkpoint is, and an interval that takes
them for such is too narrow. A cluster is what is connected: samples that share an image; the rotations of a circular
question (``group``); a question's versions (``version``, of one id and directory). Each other sample is a cluster of
its own.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Links", "cluster_codes", "links_of"]

Links = tuple[Hashable, ...]
"""What a sample has in common with others: samples with an equal link are in one cluster."""


def links_of(
    task: str, directory: str, name: str, images: Sequence[str] | None, metadata: Mapping[str, str | int]
) -> Links:
    """The links of a sample.

    Args:
        task: its task.
        directory: its directory.
        name: its id.
        images: a digest of each of its images; None where a journal of an earlier version does not say.
        metadata: of which ``group`` and ``version`` are read.
    """
    links: Links = tuple(images or ())
    if "group" in metadata:
        links += (("group", task, metadata["group"]),)
    if "version" in metadata:
        links += (("version", directory, name),)
    return links


def cluster_codes(links: Iterable[Links]) -> NDArray[np.intp]:
    """(samples,): the number of each sample's cluster, from 0, in the order in which clusters first appear."""
    parents: list[int] = []
    owners: dict[Hashable, int] = {}

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for place, each in enumerate(links):
        parents.append(place)
        for link in each:
            owner = owners.setdefault(link, place)
            if owner != place:
                one, other = root(owner), root(place)
                parents[max(one, other)] = min(one, other)
    roots = np.array([root(place) for place in range(len(parents))], dtype=np.intp)
    return np.unique(roots, return_inverse=True)[1].astype(np.intp)
