"""What users run today on vLLM: prompt log-probabilities, a request a candidate, in the engine's generation mode.

Settings are those of our vLLM engine (dtype, token budget, block size, eager mode), less what only pooling needs.
Images are brought to their final size with PIL before vLLM sees them, so that its own processor, which would resize
with torchvision, finds nothing to resize and both sides see the same pixels. ``logprobs_mode="raw_logits"`` makes the
numbers comparable; it spares the peer a log-softmax.
"""

import gc
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radar_fast.bench.contender import Outcome, Setup
from radar_fast.bench.peers import written_results
from radar_fast.bench.pictures import expanded_length, laid_out
from radar_fast.engines.encode.encoder import Encoder
from radar_fast.errors import EngineError, ModelError, UsageError, one_line
from radar_fast.sample import Prompt, Sample
from radar_fast.util.clock import Clock

__all__ = ["Letters", "PromptLogprobs", "TokenIds", "check_letters", "check_token_ids"]

TOKEN_IDS_SINCE = (0, 32)
"""First vLLM whose ``SamplingParams`` has ``prompt_logprob_token_ids``."""
MOST_LETTERS = 128
"""Ids that ``logprob_token_ids`` takes."""
_POOLING_ONLY = ("runner", "hf_overrides", "worker_extension_cls", "enable_chunked_prefill")


def check_token_ids(device: str) -> None:
    """See, without importing vLLM, that ``vllm-token-ids`` can run here.

    Raises:
        UsageError: no vLLM, one of another version, or no V2 runner.
    """
    _check_since(TokenIds.name, TOKEN_IDS_SINCE)
    if device != "cuda":
        raise UsageError(f"--peers {TokenIds.name}: needs vLLM's V2 model runner, which needs a GPU; leave it out")


def check_letters(_: str) -> None:
    """See, without importing vLLM, that ``vllm-letters`` can run here.

    Raises:
        UsageError: no vLLM, or one of another version.
    """
    _check_since(Letters.name, TOKEN_IDS_SINCE)  # the oldest of which its source was read


def _check_since(name: str, since: tuple[int, int]) -> None:
    from radar_fast.engines.vllm.compat import check_version, installed_version

    check_version()
    version = installed_version() or ""
    found = tuple(int(number) for number in version.split(".")[:2] if number.isdigit())
    if found < since:
        wanted = ".".join(map(str, since))
        raise UsageError(f"--peers {name}: needs vLLM {wanted} or newer, and this is {version}; leave it out")


@dataclass(frozen=True)
class _Request:
    """One candidate."""

    sample: int
    """Its place in the round."""
    inputs: dict[str, Any]
    """vLLM's prompt."""
    answer: int
    """Answer tokens, at its end."""
    ids: tuple[int, ...]
    """Those tokens."""
    length: int | None
    """Tokens of the whole, images expanded; None where that is not known beforehand."""


class PromptLogprobs:
    """``SamplingParams(prompt_logprobs=1, max_tokens=1, temperature=0)``, as lm-evaluation-harness' vLLM model asks for
    log-likelihoods: all requests submitted at once, vLLM schedules."""

    name = "vllm-prompt-logprobs"
    runner: str | None = None
    """What ``VLLM_USE_V2_MODEL_RUNNER`` is to be; None leaves the version's own choice."""

    def __init__(self, setup: Setup) -> None:
        for variable, value in (
            ("VLLM_LOGGING_LEVEL", "ERROR"),
            ("VLLM_LOGGING_STREAM", "ext://sys.stderr"),
            ("VLLM_NO_USAGE_STATS", "1"),
        ):
            os.environ.setdefault(variable, value)
        if self.runner is not None:
            os.environ["VLLM_USE_V2_MODEL_RUNNER"] = self.runner
        import torch
        from vllm import LLM

        from radar_fast.engines.vllm.options import arguments_for

        checkpoint = setup.checkpoint
        self._protocol = setup.open_protocol(checkpoint)
        self._encoder = Encoder(checkpoint, self._protocol, getattr(torch, setup.options.dtype))
        arguments = arguments_for(checkpoint, self._protocol, setup.options)
        arguments = {name: value for name, value in arguments.items() if name not in _POOLING_ONLY}
        try:
            self._llm: Any = LLM(**arguments, logprobs_mode="raw_logits")
        except Exception as error:
            raise ModelError(
                f"{checkpoint.path}: vLLM cannot load it: {one_line(error)}", path=checkpoint.path
            ) from error
        self._arguments = arguments
        self._clock = Clock()

    def score(self, samples: Sequence[Sample], folder: Path) -> Outcome:
        """See :class:`~radar_fast.bench.contender.Contender`."""
        self._clock.take()
        requests = [
            request
            for number, sample in enumerate(samples)
            for request in self._requests(number, self._protocol.prompt(sample))
        ]
        logits: list[list[list[float]]] = [[] for _ in samples]
        with self._clock.measure("compute"):
            scores, tokens = self._run(requests)
        for request, score in zip(requests, scores, strict=True):
            logits[request.sample].append(score)
        with self._clock.measure("write"):
            written_results(folder, samples, logits)
        return Outcome(logits, tokens, self._clock.take())

    def forget(self) -> None:
        """Drop KV blocks, encoder outputs and preprocessed images."""
        engine = self._llm.llm_engine
        engine.reset_mm_cache()
        engine.reset_encoder_cache()
        if not engine.reset_prefix_cache():
            raise EngineError(f"{self.name}: vLLM did not reset its prefix cache")

    def describe(self) -> Mapping[str, Any]:
        """vLLM's version and the arguments that it was given."""
        import torch
        import vllm

        told = {name: value for name, value in self._arguments.items() if isinstance(value, str | int | float)}
        return {"vllm": vllm.__version__, **told, "threads": torch.get_num_threads()}

    def close(self) -> None:
        """See :class:`~radar_fast.bench.contender.Contender`."""
        llm, self._llm = self._llm, None
        if llm is not None:
            llm.llm_engine.engine_core.shutdown()
            gc.collect()

    def _requests(self, number: int, prompt: Prompt) -> list[_Request]:
        images, tokens = laid_out(self._encoder, prompt, self._clock, self.name)
        split = tokens.split
        requests = []
        for suffix in split.suffixes:
            ids = [*tokens.prefix[: split.shared], *suffix]
            answer = suffix[split.scored_from :]
            inputs: dict[str, Any] = {"prompt_token_ids": ids}
            if images:
                inputs["multi_modal_data"] = {"image": images}
            requests.append(
                _Request(number, inputs, len(answer), answer, expanded_length(len(ids), images, self._encoder))
            )
        return requests

    def _run(self, requests: Sequence[_Request]) -> tuple[list[list[float]], int]:
        """Raw logits a request, and the token positions computed."""
        from vllm import SamplingParams

        # As lm-evaluation-harness' vllm_causallms._model_generate(generate=False) sets them.
        params = SamplingParams(temperature=0, prompt_logprobs=1, max_tokens=1, detokenize=False)
        outputs = self._generate([request.inputs for request in requests], params)
        scores, tokens = [], 0
        for request, output in zip(requests, outputs, strict=True):
            ids, rows = output.prompt_token_ids, output.prompt_logprobs
            scores.append([float(rows[at][ids[at]].logprob) for at in range(len(ids) - request.answer, len(ids))])
            tokens += len(ids) - (output.num_cached_tokens or 0)
        return scores, tokens

    def _generate(self, inputs: list[dict[str, Any]], params: Any) -> list[Any]:
        try:
            outputs: list[Any] = self._llm.generate(inputs, params, use_tqdm=False)
        except Exception as error:
            raise EngineError(f"{self.name}: vLLM failed: {one_line(error)}") from error
        return outputs


class TokenIds(PromptLogprobs):
    """``prompt_logprob_token_ids`` with ``prompt_logprob_start`` at the row before the answer, and the prefix cache
    read: no row before the answer meets the LM head, and a sample's later candidates find its prefix cached.

    vLLM drops the scores of a request whose cached blocks pass the start row; such a request is put again without the
    cache. vLLM 0.32 or newer, V2 model runner, hence a GPU only.
    """

    name = "vllm-token-ids"
    runner = "1"

    def _run(self, requests: Sequence[_Request]) -> tuple[list[list[float]], int]:
        scores: dict[int, list[float]] = {}
        tokens = 0
        for read_cache in (True, False):
            left = [number for number in range(len(requests)) if number not in scores]
            if not left:
                break
            params = [self._params(requests[number], read_cache=read_cache) for number in left]
            outputs = self._generate([requests[number].inputs for number in left], params)
            for number, output in zip(left, outputs, strict=True):
                tokens += len(output.prompt_token_ids) - (output.num_cached_tokens or 0)
                found = output.prompt_token_id_logprobs
                if found is not None and len(found) == requests[number].answer:
                    scores[number] = [float(row[0]) for row in found]
        if len(scores) < len(requests):
            raise EngineError(f"{self.name}: vLLM gave no scores for {len(requests) - len(scores)} requests")
        return [scores[number] for number in range(len(requests))], tokens

    def _params(self, request: _Request, *, read_cache: bool) -> Any:
        from vllm import SamplingParams

        if request.length is None:
            raise EngineError(f"{self.name}: how this model's processor expands images is not known here")
        return SamplingParams(
            temperature=0,
            max_tokens=1,
            detokenize=False,
            prompt_logprob_token_ids=[[token] for token in request.ids],
            prompt_logprob_start=request.length - request.answer - 1,
            skip_reading_prefix_cache=not read_cache,
        )


class Letters(PromptLogprobs):
    """``logprob_token_ids``, one request a sample: for candidates of one token each, as letters are. The token that
    vLLM samples is dropped."""

    name = "vllm-letters"

    def score(self, samples: Sequence[Sample], folder: Path) -> Outcome:
        """See :class:`~radar_fast.bench.contender.Contender`."""
        from vllm import SamplingParams

        self._clock.take()
        inputs, params, wanted = [], [], []
        for number, sample in enumerate(samples):
            requests = self._requests(number, self._protocol.prompt(sample))
            ids = [request.ids[0] for request in requests]
            heads = {tuple(request.inputs["prompt_token_ids"][:-1]) for request in requests}
            if any(request.answer != 1 for request in requests) or len(heads) != 1 or len(ids) > MOST_LETTERS:
                raise EngineError(
                    f"{self.name}: {sample.id} of {sample.task}: at most {MOST_LETTERS} candidates of one token each "
                    "are wanted; see --letters"
                )
            inputs.append({**requests[0].inputs, "prompt_token_ids": list(heads.pop())})
            params.append(
                SamplingParams(
                    temperature=0, max_tokens=1, detokenize=False, logprob_token_ids=list(dict.fromkeys(ids))
                )
            )
            wanted.append(ids)
        with self._clock.measure("compute"):
            outputs = self._generate(inputs, params)
        logits = [
            [[float(output.outputs[0].logprobs[0][token].logprob)] for token in ids]
            for output, ids in zip(outputs, wanted, strict=True)
        ]
        tokens = sum(len(output.prompt_token_ids) - (output.num_cached_tokens or 0) for output in outputs)
        with self._clock.measure("write"):
            written_results(folder, samples, logits)
        return Outcome(logits, tokens, self._clock.take())
