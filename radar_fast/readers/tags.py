"""Where images go in a question: ``<image>`` or ``<image n>`` stands for one."""

import re

from radar_fast.readers.records import Unfit, shown
from radar_fast.sample import AnyImage, Part, ReasonKind

__all__ = ["TAG", "placed"]

TAG = re.compile(r"<image(?: (\d+))?>")


def placed(question: str, images: tuple[AnyImage, ...], name: str) -> tuple[Part, ...]:
    """Images where the tags are, or before the question where there is no tag. The text stays as it is.

    ``name``: what messages call the question. Raises Unfit (``image-tag-mismatch``) unless each tag has an image and
    each image a tag.
    """
    tags = list(TAG.finditer(question))
    if not tags:
        return (*images, question)
    parts: list[Part] = []
    end = 0
    for tag, position in zip(tags, _order(tags, len(images), name), strict=True):
        parts += [question[end : tag.start()], images[position]]
        end = tag.end()
    parts.append(question[end:])
    return tuple(part for part in parts if part != "")


def _order(tags: list[re.Match[str]], count: int, name: str) -> list[int]:
    """Which image stands at each tag."""
    numbers = [tag[1] for tag in tags]
    if all(number is None for number in numbers):
        order = list(range(len(numbers)))
    elif None in numbers:
        raise Unfit(ReasonKind.IMAGE_TAG_MISMATCH, f"{name} mixes <image> and <image n>: use one of them")
    else:
        # Nine digits at most: Python refuses to convert numbers without end.
        order = [int(number) - 1 if len(number) < 10 else count for number in numbers]
    if set(order) != set(range(count)):
        found = f"{name} holds {len(tags)} image tags ({shown(tags[0][0])}, ...)"
        raise Unfit(ReasonKind.IMAGE_TAG_MISMATCH, f"{found}, which do not pair with {count} images: correct one")
    return order
