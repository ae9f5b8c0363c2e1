"""Prompts -> scores, by a server: one request a question, its images in it once, so many at a time."""

import base64
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from radar_fast.engines.base import Engine, EngineReport
from radar_fast.engines.http.client import Client, RefusedError
from radar_fast.engines.options import EngineOptions
from radar_fast.errors import EngineError, UsageError
from radar_fast.images import encoded_image
from radar_fast.sample import AnyImage, Candidate, Prompt, Reason, ReasonKind, Sample, Scored
from radar_fast.util.ahead import map_ahead

__all__ = ["HttpEngine", "question_of"]

CONCURRENCY = 16
"""Questions under way unless ``--workers`` says otherwise."""


class HttpEngine(Engine):
    """Scores prompts by ``vllm serve`` with our plugin.

    Raises:
        UsageError, EngineError: as :class:`~radar_fast.engines.http.client.Client`.
    """

    name = "http"

    def __init__(self, options: EngineOptions) -> None:
        if options.url is None:
            raise UsageError("--engine http: needs --url")
        self._count = options.workers or CONCURRENCY
        self._client = Client(options.url, self._count)
        try:
            self._info = self._client.info()
        except BaseException:
            self._client.close()
            raise
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="ask")

    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        """One :class:`Scored` a prompt, in order."""
        yield from map_ahead(self._pool, self._ask, prompts, 2 * self._count)

    def describe(self) -> EngineReport:
        """The server's own word."""
        info = self._info
        return EngineReport(
            name=self.name,
            version=info.version,
            device=info.device,
            device_name=info.device,
            dtype=info.dtype,
            settings={"workers": self._count, "model_name": info.model_name},
        )

    def load_weights(self, path: Path) -> None:
        """Never. Raises EngineError: the weights are the server's."""
        raise EngineError(f"{path}: a server takes no other weights; start it with them", path=path)

    def close(self) -> None:
        """Wait for what is under way, and let go of the connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._client.close()

    def _ask(self, prompt: Prompt) -> Scored:
        sample = prompt.sample
        data = question_of(sample)
        if isinstance(data, Reason):
            return Scored(sample, reason=data)
        began = time.perf_counter()
        try:
            answer = self._client.ask(data, self._info)
        except RefusedError as error:
            return Scored(sample, reason=_reason(str(error)))
        seconds = (time.perf_counter() - began) / self._count
        return Scored(sample, _candidates(sample, answer), seconds=seconds)


def question_of(sample: Sample) -> dict[str, Any] | Reason:
    """The ``data`` of a request; a Reason where an image of it cannot be had."""
    parts: list[dict[str, Any]] = []
    for part in sample.parts:
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
            continue
        image = _image(part)
        if isinstance(image, Reason):
            return image
        parts.append(image)
    about = {"task": sample.task, "directory": sample.directory, "metadata": dict(sample.metadata)}
    return {"parts": parts, "candidates": list(sample.candidates), "answer": sample.answer, "sample": about}


def _image(image: AnyImage) -> dict[str, Any] | Reason:
    raw = encoded_image(image)
    if isinstance(raw, Reason):
        return raw
    url = f"data:image/png;base64,{base64.b64encode(raw).decode()}"  # the server looks at the bytes for their kind
    return {"type": "image_url", "image_url": {"url": url}}


def _candidates(sample: Sample, answer: dict[str, Any]) -> tuple[Candidate, ...]:
    try:
        scored = tuple(
            Candidate(tuple(map(float, each["logits"])), tuple(map(float, each["logprobs"])))
            for each in answer["candidates"]
        )
        texts = [each["text"] for each in answer["candidates"]]
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"the server's answer of {sample.key} cannot be read: {error!r}") from None
    if texts != list(sample.candidates):
        raise EngineError(f"the server's answer of {sample.key} is of other candidates")
    return scored


def _reason(said: str) -> Reason:
    """The server's words as a reason: those of a sample that cannot be scored begin with its kind."""
    kind, colon, detail = said.partition(": ")
    if colon and kind in set(ReasonKind):
        return Reason(ReasonKind(kind), detail)
    if "maximum context length" in said:
        return Reason(ReasonKind.TOO_LONG, said)
    if "must be finite" in said:
        return Reason(ReasonKind.NON_FINITE, said)
    return Reason(ReasonKind.REFUSED, said)
