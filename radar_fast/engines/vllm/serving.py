"""``vllm serve`` with the candidate pooler: a question and its candidates in one ``/pooling`` request, scores out.

vLLM finds :class:`CandidateProcessor` through the ``vllm.io_processor_plugins`` entry point where the server is
started with ``--io-processor-plugin radar_fast``. docs/vllm.md has the command and an example request. Questions are
put to the model by the same protocol, tokenised and preprocessed by the same code as in ``radar-fast score``, so the
numbers are the same.

vLLM calls a processor from its event loop, where decoding a picture would keep every other client waiting. So the
server's requests come by way of :mod:`radar_fast.engines.vllm.guard`, which bounds and prepares them in a thread, and
hands this processor a ticket for what has been prepared.
"""

import asyncio
import dataclasses
import functools
import hashlib
import json
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from vllm import PoolingParams
from vllm.plugins.io_processors.interface import IOProcessor

from radar_fast.engines.device import dtype_name
from radar_fast.engines.encode.encoder import Encoder
from radar_fast.engines.vllm.limits import Limits, TooLargeError
from radar_fast.engines.vllm.preprocessor import serve_pixels_of
from radar_fast.engines.vllm.questions import Question, parse_question
from radar_fast.engines.vllm.requests import TARGETS, Plan, image_uuid, plan_requests
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol, prompt_digest
from radar_fast.results.folder import library_versions
from radar_fast.sample import Reason, Sample
from radar_fast.scores import judge

__all__ = [
    "GUARD",
    "TICKET",
    "CandidateProcessor",
    "Prepared",
    "register",
    "serving",
]

SETTINGS = "radar_fast"
"""Key of ``--additional-config`` with our settings: ``protocol``, ``min_pixels``, ``max_pixels``, ``limits``."""

GUARD = "radar_fast.engines.vllm.guard.Guard"
"""What ``vllm serve`` is to be told as its ``--middleware``."""

TICKET = "radar_fast_ticket"
"""Key of the ``data`` that the guard puts in place of a client's."""

MOST_IN_FLIGHT = 10_000
"""Requests that may be under way at a time; of an older one that a client abandoned, the plan is forgotten."""


def register() -> str:
    """What vLLM asks of an ``io_processor_plugins`` entry point: where the class is."""
    return f"{__name__}.{CandidateProcessor.__name__}"


@dataclass(slots=True)
class Prepared:
    """A question that is ready for vLLM."""

    question: Question
    plan: Plan
    prefix: tuple[int, ...]
    """Token ids that all requests share, one image token an image."""
    images: tuple[Any, ...]
    """PIL images, in reading order."""
    uuids: tuple[str, ...]
    """What tells them from others in vLLM's caches."""
    request_ids: list[str] = field(default_factory=list)
    """Under which its plan waits for scores."""


_processors: list["CandidateProcessor"] = []


def serving() -> "CandidateProcessor | None":
    """The processor of this server process, once there is one."""
    return _processors[-1] if _processors else None


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _require_no_fetching(model: Any) -> None:
    """Refuse to start where vLLM would fetch what its own forms of a request name, from wherever a client says."""
    if not model.allowed_media_domains:
        raise ValueError(
            "--io-processor-plugin radar_fast: give --allowed-media-domains too, or any client could have this server "
            "fetch addresses of its network; `--allowed-media-domains none.invalid` allows none"
        )


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
        _require_no_fetching(model)
        settings = (vllm_config.additional_config or {}).get(SETTINGS, {})
        self.limits = Limits.of(settings.get("limits", {}))
        """Of a request."""
        checkpoint = self._checkpoint = Checkpoint.open(Path(model.model), trust_remote_code=model.trust_remote_code)
        self._protocol = open_protocol(
            settings.get("protocol", "auto"),
            checkpoint,
            min_pixels=settings.get("min_pixels"),
            max_pixels=settings.get("max_pixels"),
        )
        self._encoder = Encoder(checkpoint, self._protocol, model.dtype)
        serve_pixels_of(renderer, self._encoder.image_processor)
        self._longest = int(model.max_model_len)
        names = model.served_model_name
        self._name = str(names if isinstance(names, str) else names[0])
        self._device, self._dtype = str(vllm_config.device_config.device_type), dtype_name(model.dtype)
        self._quantised = str(model.quantization or "")
        self._plans: OrderedDict[str, deque[tuple[Question, Plan]]] = OrderedDict()
        self._tickets: dict[str, Prepared] = {}
        self._lock = threading.Lock()
        # vLLM calls pre_process and merge_pooling_params for a request one after the other, in one thread.
        self._mine = threading.local()
        _processors.append(self)

    @functools.cached_property
    def info(self) -> Mapping[str, Any]:
        """What a client is told of this server, and its identity takes; the first time it reads all weights."""
        files = json.dumps(self._checkpoint.fingerprint(), sort_keys=True)
        engine = {"name": "vllm", "device": self._device, "dtype": self._dtype}
        return {
            "model_name": self._name,
            "model": {"name": self._checkpoint.name, "sha256": hashlib.sha256(files.encode()).hexdigest()},
            "protocol": dict(self._protocol.settings),
            "prompt": prompt_digest(self._protocol),
            "engine": {**engine, "quantization": self._quantised} if self._quantised else engine,
            "versions": library_versions(),
            "limits": dataclasses.asdict(self.limits),
        }

    def prepare(self, question: Question) -> Prepared:
        """Decode the images, tokenise and plan. From any thread. Raises ValueError where it cannot be scored."""
        end = time.thread_time() + self.limits.seconds
        parts, candidates = question.parts, question.candidates
        about = question.about
        sample = Sample(
            "request", about.task, about.directory, "other", parts, candidates, question.answer or 0, about.metadata
        )
        asked = self._protocol.prompt(sample)
        images = self._encoder.read_images(asked, self.limits.seconds)
        self._check_time(end)
        if isinstance(images, Reason):
            raise ValueError(str(images))
        tokens = self._encoder.tokenise(asked)
        if isinstance(tokens, Reason):
            raise ValueError(str(tokens))
        split = tokens.split
        longest = split.shared + max(map(len, split.suffixes))
        if longest > self._longest:
            raise TooLargeError("data", f"{longest} tokens", "maximum context length", self._longest)
        self.limits.check("tokens", sum(split.shared + len(suffix) for suffix in split.suffixes))
        self._check_time(end)
        plan = plan_requests(split.suffixes, split.scored_from)
        return Prepared(question, plan, tokens.prefix[: split.shared], tuple(images), tuple(map(image_uuid, images)))

    def _check_time(self, end: float) -> None:
        over = time.thread_time() - end
        if over > 0:
            self.limits.check("seconds", round(self.limits.seconds + over, 3))

    def issue(self, prepared: Prepared) -> str:
        """A ticket that :meth:`parse_data` takes once for what has been prepared."""
        ticket = uuid.uuid4().hex
        with self._lock:
            self._tickets[ticket] = prepared
        return ticket

    def forget(self, ticket: str, prepared: Prepared) -> None:
        """Its client has been answered, or has left."""
        with self._lock:
            self._tickets.pop(ticket, None)
            for request_id in prepared.request_ids:
                self._plans.pop(request_id, None)

    def parse_data(self, data: object) -> Question | Prepared:
        """Validate a request, or take a ticket. Raises ValueError."""
        if isinstance(data, Mapping) and set(data) == {TICKET}:
            with self._lock:
                prepared = self._tickets.pop(str(data[TICKET]), None)
            if prepared is None:
                raise ValueError("data: an unknown ticket")
            return prepared
        if _in_event_loop():
            raise ValueError(f"this server was not started as docs/vllm.md says: it lacks --middleware {GUARD}")
        return parse_question(data, self.limits)

    def pre_process(self, prompt: Question | Prepared, request_id: str | None = None, **kwargs: Any) -> Sequence[Any]:  # noqa: ARG002
        """A question's requests, in the form of vLLM's prompts. Raises ValueError where it cannot be scored."""
        prepared = prompt if isinstance(prompt, Prepared) else self.prepare(prompt)
        plan, prefix = prepared.plan, prepared.prefix
        shared: dict[str, Any] = {"cache_salt": uuid.uuid4().hex}
        if prepared.images:
            shared["multi_modal_data"] = {"image": list(prepared.images)}
            shared["multi_modal_uuids"] = {"image": list(prepared.uuids)}
        self._mine.params = deque(
            PoolingParams(
                task="plugin",
                skip_reading_prefix_cache=False,
                extra_kwargs={TARGETS: [list(targets) for targets in request.targets]},
            )
            for request in plan.requests
        )
        with self._lock:
            prepared.request_ids.append(request_id or "")
            self._plans.setdefault(request_id or "", deque()).append((prepared.question, plan))
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
    verdict = judge(logits, question.answer or 0)
    found: dict[str, Any] = {
        "candidates": [
            {"text": text, "logits": mine, "logprobs": [pair[1] for pair in candidate]}
            for text, mine, candidate in zip(question.candidates, logits, pairs, strict=True)
        ],
        "probabilities": list(verdict.probabilities),
        "prediction": verdict.chosen,
    }
    if question.answer is not None:
        found["sds"] = verdict.probability
    return found
