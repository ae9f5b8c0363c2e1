"""Pictures as peers with processors of their own get them: so large that nothing is left to resize.

Their processors would resize with torchvision; brought to their final size with PIL before, both sides see the same
pixels.
"""

from collections.abc import Sequence

from PIL import Image

from radar_fast.bench.peers import read_pictures
from radar_fast.engines.encode.encoder import Encoder
from radar_fast.engines.encode.tokens import Tokens
from radar_fast.errors import EngineError
from radar_fast.protocols import smart_resize
from radar_fast.sample import Prompt, Reason
from radar_fast.util.clock import Clock

__all__ = ["at_final_size", "expanded_length", "laid_out"]


def at_final_size(image: Image.Image, encoder: Encoder) -> Image.Image:
    """The image as the checkpoint's own PIL processor would resize it, where that resizes by area."""
    bounds = _bounds(encoder)
    if bounds is None:
        return image
    factor, least, most = bounds
    height, width = smart_resize(image.height, image.width, factor, least, most)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def laid_out(encoder: Encoder, prompt: Prompt, clock: Clock, peer: str) -> tuple[list[Image.Image], Tokens]:
    """A prompt's pictures at their final size and its tokens, timed as ``decode`` and ``tokenise``.

    Raises:
        EngineError: it cannot be scored, which the message says of ``peer``.
    """
    with clock.measure("decode"):
        images = [at_final_size(image, encoder) for image in read_pictures(encoder, prompt)]
    with clock.measure("tokenise"):
        tokens = encoder.tokenise(prompt)
    if isinstance(tokens, Reason):
        raise EngineError(f"{peer}: {prompt.sample.id} of {prompt.sample.task}: {tokens}")
    return images, tokens


def expanded_length(tokens: int, images: Sequence[Image.Image], encoder: Encoder) -> int | None:
    """Length of ``tokens`` tokens with every image token expanded to one a merged patch, of images at their final size;
    None where that is not known."""
    bounds = _bounds(encoder)
    if bounds is None:
        return None if images else tokens
    return tokens + sum(image.width * image.height // bounds[0] ** 2 - 1 for image in images)


def _bounds(encoder: Encoder) -> tuple[int, int, int] | None:
    """(side of a merged patch, least area, largest area) in pixels."""
    processor = encoder.image_processor
    size = dict(processor.size or {})
    if not hasattr(processor, "merge_size") or size.get("shortest_edge") is None:
        return None
    return processor.patch_size * processor.merge_size, size["shortest_edge"], size["longest_edge"]
