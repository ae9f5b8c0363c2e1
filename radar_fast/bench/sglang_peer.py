"""What users of SGLang can ask of its server: the log-probabilities of a prompt's end, over ``/generate``.

A request for each candidate, with ``logprob_start_len`` at the row before its answer and no token generated, so that
the radix cache is read up to there; the prefix of every sample is asked for first, so that it is in that cache. Images
travel at their final size, as PNG in base64. Written from SGLang's documentation and source; it was tried against a
stand-in that checks the requests, not against the real server.

A server gives log-probabilities and no raw logits: those are what is compared.
"""

import base64
import io
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from radar_fast.bench.contender import Outcome, Setup
from radar_fast.bench.peers import written_results
from radar_fast.bench.pictures import expanded_length, laid_out
from radar_fast.engines.encode.encoder import Encoder
from radar_fast.errors import EngineError, one_line
from radar_fast.sample import Prompt, Sample
from radar_fast.util.clock import Clock

__all__ = ["SGLang"]

AT_ONCE = 64
"""Requests under way."""
PATIENCE = 600.0
"""Seconds for one answer."""


class SGLang:
    """A client of a running server, which has loaded the same model in the same dtype."""

    name = "sglang"

    def __init__(self, setup: Setup) -> None:
        checkpoint = setup.checkpoint
        assert setup.sglang is not None  # BenchConfig has seen to it
        self._address = setup.sglang.rstrip("/")
        self._protocol = setup.open_protocol(checkpoint)
        self._encoder = Encoder(checkpoint, self._protocol, torch.float32)
        self._clock = Clock()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sglang")
        try:
            self._server = self._ask("/get_server_info")
        except BaseException:
            self.close()
            raise

    def score(self, samples: Sequence[Sample], folder: Path) -> Outcome:
        """See :class:`~radar_fast.bench.contender.Contender`."""
        self._clock.take()
        asked = [self._requests(self._protocol.prompt(sample)) for sample in samples]
        with self._clock.measure("compute"):
            warm = [requests[0] for requests in asked]
            tokens = sum(computed for _, computed in self._pool.map(self._generate, warm))
            found = list(self._pool.map(self._generate, [each for requests in asked for each in requests[1:]]))
        tokens += sum(computed for _, computed in found)
        rest = iter(found)
        logprobs = [[next(rest)[0] for _ in requests[1:]] for requests in asked]
        with self._clock.measure("write"):
            written_results(folder, samples, logprobs)
        return Outcome([], tokens, self._clock.take(), logprobs)

    def forget(self) -> None:
        """Have the server empty its radix cache."""
        self._ask("/flush_cache", {}, is_json=False)

    def describe(self) -> Mapping[str, Any]:
        """The server's version and address."""
        return {"sglang": self._server.get("version"), "address": self._address}

    def close(self) -> None:
        """The server goes on."""
        self._pool.shutdown(cancel_futures=True)

    def _requests(self, prompt: Prompt) -> list[dict[str, Any]]:
        """The prefix alone, then each candidate; ``ids`` of its answer stand beside what is sent."""
        images, tokens = laid_out(self._encoder, prompt, self._clock, self.name)
        split = tokens.split
        shown = {"image_data": list(map(_as_text, images))} if images else {}
        prefix = list(tokens.prefix[: split.shared])
        requests: list[dict[str, Any]] = [{"ids": [], "body": {**shown, "input_ids": prefix, "sampling_params": _NONE}}]
        for suffix in split.suffixes:
            answer = list(suffix[split.scored_from :])
            length = expanded_length(len(prefix) + len(suffix), images, self._encoder)
            if length is None:
                raise EngineError(f"{self.name}: how this model's processor expands images is not known here")
            body = {
                **shown,
                "input_ids": [*prefix, *suffix],
                "sampling_params": _NONE,
                "return_logprob": True,
                "logprob_start_len": length - len(answer) - 1,
            }
            requests.append({"ids": answer, "body": body})
        return requests

    def _generate(self, request: Mapping[str, Any]) -> tuple[list[float], int]:
        """Log-probabilities of the request's answer, and the positions that were computed for it."""
        said = self._ask("/generate", request["body"])
        try:
            about = said["meta_info"]
            tokens = int(about["prompt_tokens"]) - int(about.get("cached_tokens") or 0)
            wanted = request["ids"]
            if not wanted:
                return [], tokens
            # (log-probability, id, text) of each token from the start on; the first has none.
            rows = about["input_token_logprobs"][-len(wanted) :]
            if [row[1] for row in rows] != wanted:
                raise EngineError(f"{self.name}: {self._address} gave scores of other tokens than were asked for")
            return [float(row[0]) for row in rows], tokens
        except (LookupError, TypeError, ValueError) as error:
            raise EngineError(f"{self.name}: {self._address}/generate: no such answer: {one_line(error)}") from None

    def _ask(self, path: str, body: Mapping[str, Any] | None = None, *, is_json: bool = True) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 # BenchConfig takes http and https alone
            self._address + path, data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
                text = answer.read()
            return json.loads(text) if is_json else None
        except urllib.error.HTTPError as error:
            said = " ".join(error.read(300).decode(errors="replace").split())
            raise EngineError(f"{self.name}: {self._address}{path}: {error.code}: {said}") from None
        except (OSError, ValueError) as error:
            raise EngineError(f"{self.name}: {self._address}{path}: {one_line(error)}") from None


_NONE = {"max_new_tokens": 0, "temperature": 0}


def _as_text(image: Any) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
