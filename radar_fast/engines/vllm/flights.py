"""Requests that vLLM holds: how samples are submitted, and how what comes back becomes samples again.

A sample goes as one packed request (:mod:`radar_fast.engines.vllm.packed_layout`) where that is on and it fits, else as
its plan's requests, one after the other. Both are answered by nothing where the prefix cache or a cut passed a row that
was wanted; it then goes again in a way in which that cannot be.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from radar_fast.engines.vllm.feed import Pace
from radar_fast.engines.vllm.packed_layout import PACKED, Nonces, PackedRequest, pack
from radar_fast.engines.vllm.prepare import Ready
from radar_fast.engines.vllm.preprocessor import without_sent_images
from radar_fast.engines.vllm.requests import TARGETS
from radar_fast.errors import EngineError, one_line
from radar_fast.sample import Reason, ReasonKind, Scored

__all__ = ["Counts", "Flights", "failed"]

MARGIN = 32
"""Sequences that are left free for the next sample's paths."""


@dataclass(slots=True)
class Counts:
    """Since the engine was opened or took its present weights."""

    requests: int = 0
    packed_requests: int = 0
    prefix_cache_hits: int = 0
    resubmissions: int = 0


@dataclass(frozen=True, slots=True)
class _Flight:
    """A request that vLLM holds."""

    ready: Ready
    request: int = 0
    """Of the sample's plan."""
    packed: PackedRequest | None = None
    """Instead of that: all of them in one."""
    read_cache: bool = True
    """Whether it may read the prefix cache; not when it is submitted again because the cache reached too far."""


class Flights:
    """What vLLM holds of one engine's samples. Not for several threads."""

    def __init__(self, engine: Any, nonces: Nonces | None) -> None:
        """``engine``: vLLM's. ``nonces``: None leaves every sample to its plan's requests."""
        self._engine, self._nonces = engine, nonces
        config = engine.vllm_config
        self._block = int(config.cache_config.block_size)
        self._longest = min(int(config.model_config.max_model_len), int(config.scheduler_config.max_num_batched_tokens))
        self._room = int(config.scheduler_config.max_num_seqs)
        self.pace = Pace(int(config.scheduler_config.max_num_batched_tokens), self._room)
        self._sequences = 0
        self._serial = 0
        self._flying: dict[str, _Flight] = {}
        self.samples: dict[int, Ready] = {}
        """Samples of which something is with vLLM, by their identity."""
        self.counts = Counts()

    def __bool__(self) -> bool:
        """Whether vLLM holds anything."""
        return bool(self._flying)

    @property
    def room(self) -> bool:
        """Whether vLLM may be given another sample: it holds fewer than two steps' of them. Of packed requests all that
        it holds may come in one step, as a sequence a path, for which there must be room in that.
        """
        packed = self._nonces is not None
        return len(self.samples) < 2 * self.pace.step and (not packed or self._sequences < self._room - MARGIN)

    def launch(self, ready: Ready) -> Scored | None:
        """Submit a sample; Scored where vLLM refuses it.

        Raises:
            EngineError: vLLM failed.
        """
        packed = self._pack(ready)
        requests = ready.plan.requests
        tokens = sum(len(ready.shared["prompt_token_ids"]) + len(each.suffix) for each in requests)
        self.pace.note(tokens if packed is None else packed.layout.length, len(requests))
        try:
            if packed is not None:
                self._submit(_Flight(ready, packed=packed))
            else:
                self._submit_plan(ready)
        except ValueError as error:  # such as an image of more tokens than the encoder cache holds
            mine = [name for name, flight in self._flying.items() if flight.ready is ready]
            self._engine.abort_request(mine)
            for name in mine:
                del self._flying[name]
            # Its images are down as sent, and may not be: who asks for them next would not get them.
            self._engine.reset_mm_cache()
            reason = Reason(ReasonKind.TOO_LONG, f"vLLM refused it: {one_line(error)}")
            return Scored(ready.prompt.sample, reason=reason)
        except Exception as error:
            raise failed(error) from error
        self.samples[id(ready)] = ready
        self._sequences += len(requests)
        return None

    def collect(self, outputs: Iterable[Any]) -> list[Ready]:
        """Take in what a step of vLLM's finished; the samples that are complete now, with their scores.

        Raises:
            EngineError: vLLM failed, or answered what was not asked.
        """
        done = []
        for output in outputs:
            flight = self._flying.pop(output.request_id)
            if not self._take(flight, output.outputs.data, output.num_cached_tokens or 0, len(output.prompt_token_ids)):
                self._again(flight, len(output.outputs.data))
            elif len(flight.ready.scores) == len(flight.ready.plan.requests):
                done.append(self.samples.pop(id(flight.ready)))
                self._sequences -= len(flight.ready.plan.requests)
        return done

    def abort(self) -> None:
        """Have vLLM forget whatever it holds."""
        with contextlib.suppress(Exception):
            self._engine.abort_request(list(self._flying))
        self._flying.clear()
        self.samples.clear()
        self._sequences = 0

    def _take(self, flight: _Flight, scores: Any, cached: int, length: int) -> bool:
        """Note what a request cost and its scores; whether they are there."""
        ready, requests = flight.ready, flight.ready.plan.requests
        self.counts.prefix_cache_hits += cached > 0
        ready.tokens_computed += (length if flight.packed is None else flight.packed.rows) - cached
        numbers = range(len(requests)) if flight.packed is not None else [flight.request]
        if len(scores) != sum(requests[number].lookups for number in numbers):
            return False
        found = scores.tolist()
        start = 0
        for number in numbers:
            stop = start + requests[number].lookups
            ready.scores[number] = found[start:stop]
            start = stop
        return True

    def _again(self, flight: _Flight, found: int) -> None:
        """The cache reached past the first row that is wanted, as when a sample is scored again; or a packed request
        was cut, or one too many for its step.
        """
        if not flight.read_cache:
            raise EngineError(
                f"vLLM gave {found} scores of {flight.ready.prompt.sample.key} in place of "
                f"{flight.ready.plan.requests[flight.request].lookups}, though it read no cache; please report this"
            )
        self.counts.resubmissions += 1
        try:
            if flight.packed is not None:
                self._submit_plan(flight.ready)
            else:
                self._submit(_Flight(flight.ready, flight.request, read_cache=False))
        except Exception as error:
            raise failed(error) from error

    def _pack(self, ready: Ready) -> PackedRequest | None:
        """All of a sample's requests as one, where there are several and that is on and fits."""
        prefix = ready.shared["prompt_token_ids"]
        if self._nonces is None or len(ready.plan.requests) < 2 or not prefix:
            return None
        places = (place for all_of in ready.shared.get("mm_placeholders", {}).values() for place in all_of)
        if any(place.offset + place.length >= len(prefix) for place in places):
            return None  # an image reaches the root, which is computed apart from the head
        packed = pack(ready.plan, prefix, self._block, self._nonces)
        return packed if len(packed.prompt) <= self._longest else None

    def _submit_plan(self, ready: Ready) -> None:
        for request in range(len(ready.plan.requests)):
            self._submit(_Flight(ready, request))

    def _submit(self, flight: _Flight) -> None:
        from vllm import PoolingParams  # this module is imported before vLLM's version and environment are seen to

        ready, packed = flight.ready, flight.packed
        engine_input = dict(ready.shared)
        if engine_input["type"] == "multimodal":
            engine_input = without_sent_images(self._engine, engine_input)
        if packed is not None:
            engine_input["prompt_token_ids"] = packed.prompt
            asked: dict[str, Any] = {PACKED: packed.layout.to_dict()}
        else:
            request = ready.plan.requests[flight.request]
            engine_input["prompt_token_ids"] = [*ready.shared["prompt_token_ids"], *request.suffix]
            asked = {TARGETS: [list(tokens) for tokens in request.targets]}
        params = PoolingParams(task="plugin", skip_reading_prefix_cache=not flight.read_cache, extra_kwargs=asked)
        self._serial += 1
        name = str(self._serial)
        self._flying[name] = flight
        try:
            self._engine.add_request(name, engine_input, params)
        except BaseException:
            del self._flying[name]
            raise
        self.counts.requests += 1
        self.counts.packed_requests += packed is not None


def failed(error: Exception) -> EngineError:
    """What to raise where vLLM as a whole failed."""
    return EngineError(
        f"vLLM failed: {one_line(error)}; what was scored is kept, and the same command goes on from there "
        "(VLLM_LOGGING_LEVEL=INFO shows vLLM's own account)"
    )
