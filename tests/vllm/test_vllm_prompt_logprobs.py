"""The vLLM engine against vLLM's own prompt_logprobs: the same model and pixels, a generation request a candidate."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

import torch
from side_by_side import scored_by
from vllm import LLMEngine, SamplingParams
from vllm.engine.arg_utils import EngineArgs
from vllm_engines import Engines

from radar_fast.demo.show import PIXELS
from radar_fast.engines.encode.encoder import Encoder
from radar_fast.engines.vllm.preprocessor import Preprocessor
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol
from radar_fast.readers import open_reader
from radar_fast.sample import Reason, Sample

BOUND = 1e-4
"""On every raw logit, fp32."""


class Peer:
    """vLLM as it generates, asked for the logits of its prompts (``logprobs_mode="raw_logits"``)."""

    def __init__(self, model: Path, protocol: Protocol) -> None:
        self._encoder = Encoder(Checkpoint.open(model), protocol, torch.float32)
        self._engine: Any = LLMEngine.from_engine_args(
            EngineArgs(
                model=str(model),
                dtype="float32",
                enforce_eager=True,
                block_size=32,
                gpu_memory_utilization=0.3,
                max_num_batched_tokens=8192,
                limit_mm_per_prompt={"video": 0},
                logprobs_mode="raw_logits",
            )
        )
        self._preprocess = Preprocessor(self._engine, self._encoder.image_processor)
        self._params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=1, detokenize=False)

    def __call__(self, samples: list[Sample], protocol: Protocol) -> dict[tuple[str, str], list[list[float]]]:
        """Sample key -> raw logits of its candidates' tokens."""
        spans: dict[str, tuple[tuple[str, str], int]] = {}
        for sample in samples:
            prompt = protocol.prompt(sample)
            images, tokens = self._encoder.read_images(prompt), self._encoder.tokenise(prompt)
            assert not isinstance(images, Reason)
            assert not isinstance(tokens, Reason)
            for index, suffix in enumerate(tokens.split.suffixes):
                name = f"{sample.key} {index}"
                ids = [*tokens.prefix[: tokens.split.shared], *suffix]
                given: Any = {"type": "token", "prompt_token_ids": ids}
                if images:
                    given = self._preprocess(ids, images, [f"{name} {number}" for number in range(len(images))])
                spans[name] = (sample.key, len(suffix) - tokens.split.scored_from)
                self._engine.add_request(name, given, self._params)
        logits: dict[str, list[float]] = {}
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                if output.finished:
                    ids, (_, count) = output.prompt_token_ids, spans[output.request_id]
                    rows = output.prompt_logprobs
                    logits[output.request_id] = [rows[at][ids[at]].logprob for at in range(len(ids) - count, len(ids))]
        found: dict[tuple[str, str], list[list[float]]] = {}
        for name, (key, _) in spans.items():
            found.setdefault(key, []).append(logits[name])
        return found

    def close(self) -> None:
        self._engine.engine_core.shutdown()


@pytest.mark.full
def test_every_logit_is_that_of_prompt_logprobs(demo: Path, engines: Engines) -> None:
    """Samples of all nine subsets, with no image, one and several."""
    model = demo / "checkpoints" / "step-1600"
    samples = [sample for sample in open_reader(demo / "mini-m3") if sample.reason is None][::3]
    assert len({sample.directory for sample in samples}) == 9
    samples.append(Sample("text", "t", "d", "a", ("No picture here.",), ("red", "dark blue"), 0))
    assert {0, 1, 3} <= {len(sample.images) for sample in samples}
    engine, protocol = engines.open(model, pixels=(PIXELS, PIXELS))
    mine = scored_by(engine, protocol, samples)
    assert engine.describe().to_dict()["fused_head"] is True
    engines.close()
    peer = Peer(model, protocol)
    theirs = peer(samples, protocol)
    peer.close()
    for key, scored in mine.items():
        for candidate, logits in zip(scored.candidates, theirs[key], strict=True):
            assert candidate.logits == pytest.approx(logits, abs=BOUND, rel=0)
