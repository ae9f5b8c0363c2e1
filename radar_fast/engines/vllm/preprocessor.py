"""vLLM's multimodal processors with our image processor in them: both engines see the same pixels."""

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from radar_fast.engines.encode.image_cache import ImageTap, stand_in

__all__ = ["Preprocessor", "same_input", "serve_pixels_of", "without_sent_images"]


class Preprocessor:
    """vLLM's multimodal processor for a model, a copy per thread, with the image processor of the transformers engine.

    transformers resizes with torchvision where that is installed and with PIL otherwise; both engines use what the
    protocol says, so that they see the same pixels. Where images are preprocessed already, the processor gets
    what was made of them and lays it out as vLLM wants it.
    """

    def __init__(self, engine: Any, image_processor: Any) -> None:
        self._config = engine.vllm_config.model_config
        self._tokenizer = engine.renderer.get_tokenizer()
        self._image_processor = ImageTap(image_processor)
        self._mine = threading.local()
        self._lock = threading.Lock()
        self.runs = 0
        """Samples that the processor has run for."""

    def __call__(self, prefix: Sequence[int], images: Sequence[Any], uuids: Sequence[str]) -> dict[str, Any]:
        """Run the processor once, on a whole sample.

        Args:
            prefix: token ids, one image token an image.
            images: PIL images, in reading order.
            uuids: what tells one image from another in every cache of vLLM's; as many.

        Returns:
            vLLM's engine input: token ids with image tokens expanded, image tensors, hashes and places.

        Raises:
            ValueError: the processor refused an image.
        """
        with self._lock:
            self.runs += 1
        return self._run(prefix, images, uuids)

    def lay_out(
        self, prefix: Sequence[int], features: Mapping[str, torch.Tensor], uuids: Sequence[str], *, counted: bool = True
    ) -> dict[str, Any]:
        """The same of images that are preprocessed: ``features`` is what the image processor made of all of them.

        Raises:
            LookupError, TypeError, ValueError: this model's processor does not take them so.
        """
        if counted:
            with self._lock:
                self.runs += 1
        with self._image_processor.giving(dict(features)):
            return self._run(prefix, [stand_in() for _ in uuids], uuids)

    def assemble(
        self, like: Mapping[str, Any], prefix: Sequence[int], features: Mapping[str, torch.Tensor], uuids: Sequence[str]
    ) -> dict[str, Any] | None:
        """What :meth:`lay_out` gives, without running the processor: its own account of which rows of ``features`` are
        whose, and each image's place where a run of image tokens is.

        Args:
            like: what :meth:`lay_out` gave of another sample.
            prefix: token ids, image tokens expanded.
            features: as for :meth:`lay_out`.
            uuids: likewise.

        Returns:
            The engine input; None where the runs are not as many as the images. Whether it is the right one, the
            caller has to see once, by doing both.
        """
        from transformers import BatchFeature
        from vllm.multimodal.inputs import MultiModalKwargsItems, PlaceholderRange

        [place, *_] = like["mm_placeholders"]["image"]
        token = like["prompt_token_ids"][place.offset]
        runs = _runs(prefix, token)
        if len(runs) != len(uuids):
            return None
        made = BatchFeature(dict(features))
        items = MultiModalKwargsItems.from_hf_inputs(made, self._processor()._get_mm_fields_config(made, {}))
        return {
            **like,
            "prompt_token_ids": list(prefix),
            "mm_kwargs": items,
            "mm_hashes": {"image": list(uuids)},
            "mm_placeholders": {"image": [PlaceholderRange(offset=start, length=length) for start, length in runs]},
        }

    def _run(self, prefix: Sequence[int], images: Sequence[Any], uuids: Sequence[str]) -> dict[str, Any]:
        processor = self._processor()
        items = processor.info.parse_mm_data({"image": list(images)})
        made: dict[str, Any] = processor(list(prefix), items, {"image": list(uuids)})
        return made

    def _processor(self) -> Any:
        if not hasattr(self._mine, "processor"):
            from vllm.multimodal import MULTIMODAL_REGISTRY

            with self._lock:  # vLLM's and transformers' caches fill up in here
                processor = MULTIMODAL_REGISTRY.create_processor(self._config, tokenizer=copy.deepcopy(self._tokenizer))
                _use_image_processor(processor.info, self._image_processor)
            self._mine.processor = processor
        return self._mine.processor


def _use_image_processor(info: Any, image_processor: Any) -> None:
    """Make one processor of vLLM's use this image processor, where it has one of the same kind."""
    theirs = info.get_hf_processor()
    inner = image_processor.inner if isinstance(image_processor, ImageTap) else image_processor
    if _kind(getattr(theirs, "image_processor", None)) != _kind(inner):
        return  # vLLM's own preprocessing of a model, which transformers does not have
    mine = copy.copy(theirs)  # vLLM caches it for the whole process, whatever the pixel bounds
    mine.image_processor = image_processor
    mine.tokenizer = info.get_tokenizer()
    info.get_hf_processor = lambda *_, **__: mine


def _kind(image_processor: Any) -> str:
    return type(image_processor).__name__.removesuffix("Pil").removesuffix("Fast")


def serve_pixels_of(renderer: Any, image_processor: Any) -> None:
    """Make the processors that ``vllm serve`` renders prompts with use this image processor."""
    for name in ("mm_processor", "_readonly_mm_processor"):
        processor = getattr(renderer, name, None)
        if processor is not None:
            _use_image_processor(processor.info, image_processor)


def without_sent_images(engine: Any, engine_input: Mapping[str, Any]) -> dict[str, Any]:
    """The input with the tensors taken out of those images that vLLM's engine process keeps from earlier requests.

    To be called in the order of submission: it mirrors that process's cache. Without a cache all tensors stay in.
    """
    cache = engine.renderer.mm_processor_cache
    if cache is None:
        return dict(engine_input)
    kwargs = {
        modality: [
            cache.get_and_update_item((item, []), key)[0]
            for item, key in zip(items, engine_input["mm_hashes"][modality], strict=True)
        ]
        for modality, items in engine_input["mm_kwargs"].items()
    }
    return {**engine_input, "mm_kwargs": kwargs}


def _runs(tokens: Sequence[int], token: int) -> list[tuple[int, int]]:
    """(start, length) of each run of a token."""
    found: list[tuple[int, int]] = []
    stop = 0
    for start in (index for index, each in enumerate(tokens) if each == token):
        if start < stop:
            continue
        stop = next((index for index in range(start, len(tokens)) if tokens[index] != token), len(tokens))
        found.append((start, stop - start))
    return found


def same_input(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two engine inputs have the same tokens and, to the bit, the same tensors. Their images may go by other
    names."""
    if one["prompt_token_ids"] != other["prompt_token_ids"] or set(one["mm_kwargs"]) != set(other["mm_kwargs"]):
        return False
    for modality, items in one["mm_kwargs"].items():
        others = other["mm_kwargs"][modality]
        if len(items) != len(others):
            return False
        for mine, theirs in zip(items, others, strict=True):
            if not _same(mine.get_data(), theirs.get_data()):
                return False
    return True


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if set(one) != set(other):
        return False
    return all(
        torch.equal(value, other[name])
        if isinstance(value, torch.Tensor) and isinstance(other[name], torch.Tensor)
        else type(value) is type(other[name]) and not isinstance(value, torch.Tensor) and value == other[name]
        for name, value in one.items()
    )
