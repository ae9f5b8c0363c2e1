"""``vllm serve`` with the candidate pooler: a question and its candidates in one ``/pooling`` request, scores out.

vLLM finds :class:`CandidateProcessor` through the ``vllm.io_processor_plugins`` entry point where the server is
started with ``--io-processor-plugin radar_fast``. docs/vllm.md has the command and an example request. Questions are
put to the model by the same protocol, tokenised and preprocessed by the same code as in ``radar-fast score``, so the
numbers are the same.
"""

import base64
import binascii
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from vllm import PoolingParams
from vllm.plugins.io_processors.interface import IOProcessor

from radar_fast.engines.encode.encoder import Encoder
from radar_fast.engines.vllm.pooler import TARGETS
from radar_fast.engines.vllm.preprocessor import serve_pixels_of
from radar_fast.engines.vllm.requests import Plan, image_uuid, plan_requests
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol
from radar_fast.sample import AnyImage, EmbeddedImage, Part, Reason, Sample
from radar_fast.scores import judge

__all__ = ["CandidateProcessor", "Question", "parse_question", "register"]

SETTINGS = "radar_fast"
"""Key of ``--additional-config`` with our settings: ``protocol``, ``min_pixels``, ``max_pixels``."""

MOST_IN_FLIGHT = 10_000
"""Requests that may be under way at a time; of an older one that a client abandoned, the plan is forgotten."""

MOST_IMAGE_BYTES = 64 * 2**20
"""Of an encoded image."""


def register() -> str:
    """What vLLM asks of an ``io_processor_plugins`` entry point: where the class is."""
    return f"{__name__}.{CandidateProcessor.__name__}"


@dataclass(frozen=True, slots=True)
class Question:
    """A validated request."""

    parts: tuple[Part, ...]
    """Texts and images in reading order."""
    candidates: tuple[str, ...]
    answer: int | None
    """Index of the correct candidate, where the client wants its SDS."""


def parse_question(data: object) -> Question:
    """The ``data`` of a request -> a question.

    Raises:
        ValueError: a field is missing or wrong; the message names it. vLLM answers with status 400.
    """
    if not isinstance(data, Mapping):
        raise ValueError("data: give an object with parts and candidates")
    if unknown := sorted(set(data) - {"parts", "candidates", "answer"}):
        raise ValueError(f"data: unknown field {unknown[0]!r}; it takes parts, candidates and answer")
    parts = data.get("parts")
    if not isinstance(parts, Sequence) or isinstance(parts, str) or not parts:
        raise ValueError("data.parts: give a list of text and image_url parts, as in a chat message's content")
    candidates = data.get("candidates")
    if not isinstance(candidates, Sequence) or isinstance(candidates, str) or not candidates:
        raise ValueError("data.candidates: give a list of answers")
    for index, candidate in enumerate(candidates):
        if not isinstance(candidate, str) or not candidate.strip():
            raise ValueError(f"data.candidates[{index}]: give a string that is not blank")
    answer = data.get("answer")
    if answer is not None and (
        isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(candidates)
    ):
        raise ValueError(
            f"data.answer: give the correct candidate's index, 0 to {len(candidates) - 1}, or leave it out"
        )
    asked = tuple(_part(part, f"data.parts[{index}]") for index, part in enumerate(parts))
    return Question(asked, tuple(candidates), answer)


def _part(part: object, where: str) -> Part:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(part, Mapping) and kind == "text":
        text = part.get("text")
        if not isinstance(text, str):
            raise ValueError(f"{where}.text: give a string")
        return text
    if isinstance(part, Mapping) and kind == "image_url":
        inner = part.get("image_url")
        url = inner.get("url") if isinstance(inner, Mapping) else inner
        return _image(url, f"{where}.image_url")
    raise ValueError(f'{where}: give {{"type": "text", ...}} or {{"type": "image_url", ...}}')


def _image(url: object, where: str) -> AnyImage:
    """Only images that are in the request: the server fetches no addresses and opens no files for its clients."""
    if not isinstance(url, str) or not url.startswith("data:image/"):
        raise ValueError(f"{where}: give the image itself, as data:image/...;base64,...")
    head, _, text = url.partition(",")
    if not head.endswith(";base64") or not text:
        raise ValueError(f"{where}: the data URL is not base64")
    if len(text) > MOST_IMAGE_BYTES * 4 // 3 + 4:
        raise ValueError(f"{where}: more than {MOST_IMAGE_BYTES} bytes")
    try:
        return EmbeddedImage(where, base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise ValueError(f"{where}: the base64 cannot be read: {error}") from None


class _EachItsOwn(list[Any]):
    """Pooling parameters of several requests, where vLLM's online route expects those that all of them share.

    The route asks them for their task and to verify themselves, and takes one per request from a list.
    """

    task = "plugin"

    def verify(self, model_config: Any) -> None:
        """Let each verify itself."""
        for params in self:
            params.verify(model_config)


class CandidateProcessor(IOProcessor):  # type: ignore[misc] # vLLM is untyped here
    """Between an HTTP request and the candidate pooler.

    A question becomes the requests of :func:`~radar_fast.engines.vllm.requests.plan_requests`. They share a cache salt
    that no other question has: its candidates read each other's prefix and nobody else's blocks, so that no cached
    block can reach past a row that is wanted.
    """

    def __init__(self, vllm_config: Any, renderer: Any) -> None:
        super().__init__(vllm_config, renderer)
        model = vllm_config.model_config
        settings = (vllm_config.additional_config or {}).get(SETTINGS, {})
        checkpoint = Checkpoint.open(Path(model.model), trust_remote_code=model.trust_remote_code)
        self._protocol = open_protocol(
            settings.get("protocol", "auto"),
            checkpoint,
            min_pixels=settings.get("min_pixels"),
            max_pixels=settings.get("max_pixels"),
        )
        self._encoder = Encoder(checkpoint, self._protocol, model.dtype)
        serve_pixels_of(renderer, self._encoder.image_processor)
        self._limit = int(model.max_model_len)
        self._plans: OrderedDict[str, deque[tuple[Question, Plan]]] = OrderedDict()
        self._lock = threading.Lock()
        # vLLM calls pre_process and merge_pooling_params for a request one after the other, in one thread.
        self._mine = threading.local()

    def parse_data(self, data: object) -> Question:
        """Validate a request. Raises ValueError."""
        return parse_question(data)

    def pre_process(self, prompt: Question, request_id: str | None = None, **kwargs: Any) -> Sequence[Any]:  # noqa: ARG002
        """A question's requests, in the form of vLLM's prompts. Raises ValueError where it cannot be scored."""
        sample = Sample("request", "serve", "serve", "other", prompt.parts, prompt.candidates, prompt.answer or 0)
        asked = self._protocol.prompt(sample)
        images = self._encoder.read_images(asked)
        tokens = self._encoder.tokenise(asked)
        if isinstance(images, Reason):
            raise ValueError(str(images))
        if isinstance(tokens, Reason):
            raise ValueError(str(tokens))
        plan = plan_requests(tokens.split.suffixes, tokens.split.scored_from)
        shared: dict[str, Any] = {"cache_salt": uuid.uuid4().hex}
        if images:
            shared["multi_modal_data"] = {"image": list(images)}
            shared["multi_modal_uuids"] = {"image": list(map(image_uuid, images))}
        prefix = tokens.prefix[: tokens.split.shared]
        self._mine.params = deque(
            PoolingParams(
                task="plugin",
                skip_reading_prefix_cache=False,
                extra_kwargs={TARGETS: [list(targets) for targets in request.targets]},
            )
            for request in plan.requests
        )
        with self._lock:
            self._plans.setdefault(request_id or "", deque()).append((prompt, plan))
            while len(self._plans) > MOST_IN_FLIGHT:
                self._plans.popitem(last=False)
        return [{"prompt_token_ids": [*prefix, *request.suffix], **shared} for request in plan.requests]

    def merge_pooling_params(self, params: Any | None = None) -> Any:
        """What the requests just made ask of the pooler: all of them online, one after the other offline."""
        waiting: deque[Any] = self._mine.params
        return _EachItsOwn(waiting) if params is None else waiting.popleft()

    def post_process(self, model_output: Sequence[Any], request_id: str | None = None, **kwargs: Any) -> dict[str, Any]:  # noqa: ARG002
        """The pooler's scores -> what the client gets, as :func:`answer_of` says."""
        with self._lock:
            mine = self._plans.get(request_id or "")
            question, plan = mine.popleft() if mine else (None, None)
            if not mine:
                self._plans.pop(request_id or "", None)
        if question is None or plan is None:
            raise RuntimeError("the question of these scores is forgotten: too many requests under way")
        scores = []
        for request, output in zip(plan.requests, model_output, strict=True):
            data: torch.Tensor = output.outputs.data
            suffix = list(request.suffix)
            ids = output.prompt_token_ids
            if len(data) != request.lookups or list(ids[len(ids) - len(suffix) :]) != suffix:
                raise RuntimeError("vLLM's output is not of the request that was asked")
            scores.append(data.tolist())
        return answer_of(question, plan, scores)


def answer_of(question: Question, plan: Plan, scores: Sequence[Sequence[Sequence[float]]]) -> dict[str, Any]:
    """What a client gets.

    Args:
        question: the request.
        plan: where its candidates' scores are.
        scores: a request of the plan: [logit, log-probability] of each lookup.

    Returns:
        ``candidates``: each with ``text``, ``logits`` and ``logprobs`` a token; ``probabilities``: softmax over the
        candidates of their mean raw logits, which SDS averages; ``prediction``: index of the greatest; with ``answer``
        in the request also ``sds``: the probability of that one.
    """
    pairs = [[scores[request][index] for request, index in candidate] for candidate in plan.places]
    logits = [[pair[0] for pair in candidate] for candidate in pairs]
    verdicts = [judge(logits, index) for index in range(len(pairs))]
    found: dict[str, Any] = {
        "candidates": [
            {"text": text, "logits": mine, "logprobs": [pair[1] for pair in candidate]}
            for text, mine, candidate in zip(question.candidates, logits, pairs, strict=True)
        ],
        "probabilities": [verdict.probability for verdict in verdicts],
        "prediction": verdicts[0].chosen,
    }
    if question.answer is not None:
        found["sds"] = verdicts[question.answer].probability
    return found
