"""What users run today on transformers, as :class:`~radar_fast.bench.contender.Contender`: the algorithm to the letter,
with this checkpoint's own processor, so that both sides see the same pixels and tokens.
"""

import copy
import gc
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from radar_fast.bench.contender import Outcome, Setup
from radar_fast.engines.encode.encoder import Encoder
from radar_fast.engines.transformers.loading import load_model
from radar_fast.engines.transformers.timing import DeviceTimer
from radar_fast.errors import EngineError
from radar_fast.protocols import Protocol
from radar_fast.sample import Prompt, Reason, Sample
from radar_fast.util.clock import Clock

__all__ = ["PerCandidate", "Published", "read_pictures", "written_results"]


class Published:
    """The published Qwen2-VL script (qwen2vl_pretrained_mllm_eval.py), one question at a time.

    The images are opened and preprocessed once with the question alone, to count its tokens, and then again for every
    candidate; the candidates are the rows of one batch, padded on the left, each with images of its own; the whole
    model runs with its default cache and gives logits at every position of every row; each answer token's logit is
    fetched by itself. Where the script counts ids that equal a fixed pad id, this reads the attention mask.
    """

    def __init__(self, setup: Setup) -> None:
        checkpoint = setup.checkpoint
        self._device = torch.device(setup.options.device)
        self._protocol: Protocol = setup.open_protocol(checkpoint)
        dtype = getattr(torch, setup.options.dtype)
        self._encoder = Encoder(checkpoint, self._protocol, dtype)
        self._processor = copy.copy(checkpoint.processor)
        self._processor.image_processor = self._encoder.image_processor  # within the pixel bounds
        self._model = load_model(checkpoint, dtype, self._device)
        self._clock = Clock()
        self._timer = DeviceTimer(self._clock, self._device)
        inner = self._model.model
        for stage, module in (
            ("vision", getattr(inner, "visual", None) or getattr(inner, "vision_tower", None)),
            ("language", getattr(inner, "language_model", None)),
            ("head", self._model.get_output_embeddings()),
        ):
            if module is not None:
                self._timer.watch(module, stage)

    def score(self, samples: Sequence[Sample], folder: Path) -> Outcome:
        """See :class:`~radar_fast.bench.contender.Contender`."""
        self._clock.take()
        logits, tokens = [], 0
        for sample in samples:
            mine, computed = self._score(self._protocol.prompt(sample))
            logits.append(mine)
            tokens += computed
        with self._clock.measure("write"):
            written_results(folder, samples, logits)
        self._timer.collect(self._timer.take())
        return Outcome(logits, tokens, self._clock.take())

    def forget(self) -> None:
        """It remembers nothing."""

    def describe(self) -> Mapping[str, Any]:
        """The script has no settings."""
        return {"attention": str(self._model.config._attn_implementation), "threads": torch.get_num_threads()}

    def close(self) -> None:
        """See :class:`~radar_fast.bench.contender.Contender`."""
        self._model = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _score(self, prompt: Prompt) -> tuple[list[list[float]], int]:
        """A list a candidate, and the positions computed."""
        text = _text(prompt)
        length = self._inputs([text], self._pictures(prompt, times=1))["input_ids"].shape[1]
        texts = [text + prompt.joiner + candidate for candidate in prompt.candidates]
        self._processor.tokenizer.padding_side = "left"
        inputs = self._inputs(texts, self._pictures(prompt, times=len(texts))).to(self._device)
        padding = (inputs["attention_mask"] == 0).sum(dim=1).tolist()
        rows = self._model(**inputs, return_dict=True).logits
        ids = inputs["input_ids"]
        found = []
        for row, skipped in enumerate(padding):
            answer = range(skipped + length, ids.shape[1])
            found.append([rows[row, at - 1, ids[row, at]].item() for at in answer])
        return found, ids.numel()

    def _pictures(self, prompt: Prompt, times: int) -> list[Any]:
        with self._clock.measure("decode"):
            return [image for _ in range(times) for image in read_pictures(self._encoder, prompt)]

    def _inputs(self, texts: list[str], images: list[Any]) -> Any:
        with self._clock.measure("preprocess"):
            return self._processor(text=texts, images=images or None, padding=True, return_tensors="pt")


class PerCandidate(Published):
    """One forward a candidate, as evaluation harnesses do on transformers: the image preprocessed and encoded with
    each, no padding, log-softmax over the logits of every position."""

    @torch.inference_mode()
    def _score(self, prompt: Prompt) -> tuple[list[list[float]], int]:
        text = _text(prompt)
        found, computed = [], 0
        with self._clock.measure("tokenise"):
            tokens = self._encoder.tokenise(prompt)
        if isinstance(tokens, Reason):
            raise EngineError(f"per-candidate: {prompt.sample.id} of {prompt.sample.task}: {tokens}")
        for candidate, suffix in zip(prompt.candidates, tokens.split.suffixes, strict=True):
            inputs = self._inputs([text + prompt.joiner + candidate], self._pictures(prompt, times=1)).to(self._device)
            rows = self._model(**inputs, return_dict=True).logits[0]
            rows.float().log_softmax(-1)  # what a harness keeps; the raw logits are read for comparison
            ids = inputs["input_ids"][0]
            answer = torch.arange(len(ids) - (len(suffix) - tokens.split.scored_from), len(ids), device=ids.device)
            found.append(rows[answer - 1, ids[answer]].float().tolist())
            computed += len(ids)
        return found, computed


def read_pictures(encoder: Encoder, prompt: Prompt) -> list[Any]:
    """The prompt's images as a processor is to get them.

    Raises:
        EngineError: one cannot be had.
    """
    images = encoder.read_images(prompt)
    if isinstance(images, Reason):
        raise EngineError(f"{prompt.sample.id} of {prompt.sample.task}: {images}")
    return images


def written_results(folder: Path, samples: Sequence[Sample], logits: Sequence[Sequence[Sequence[float]]]) -> None:
    """What the published script leaves: one JSON list, at the end."""
    results = []
    for sample, mine in zip(samples, logits, strict=True):
        means = [sum(candidate) / len(candidate) for candidate in mine]
        probabilities = torch.softmax(torch.tensor(means), dim=0).tolist()
        results.append(
            {
                "q_id": sample.id,
                "answers": list(sample.candidates),
                "answer_prob": probabilities,
                "answers_avg_logits": means,
                "answers_ori_logits": [list(candidate) for candidate in mine],
            }
        )
    (folder / "results.json").write_text(json.dumps(results))


def _text(prompt: Prompt) -> str:
    return "".join(part if isinstance(part, str) else part.text for part in prompt.parts)
