"""``radar-fast score --show-prompt N``: what a model is asked, and nothing scored."""

from collections.abc import Iterator
from itertools import islice

from radar_fast.config import RunConfig

__all__ = ["shown_prompts"]


def shown_prompts(config: RunConfig, count: int) -> Iterator[str]:
    """The first prompts of a run, line by line: their texts, and with a checkpoint their tokens. No weight is loaded.

    Raises:
        RadarError: as for the run.
    """
    from radar_fast.benchmark import open_benchmark
    from radar_fast.models.checkpoint import Checkpoint
    from radar_fast.protocols import open_protocol
    from radar_fast.sample import Reason
    from radar_fast.terminal.asked import prompt_lines, token_lines
    from radar_fast.terminal.progress import SilentProgress

    benchmark = open_benchmark(config, SilentProgress())
    checkpoint = None
    if config.model is not None:
        checkpoint = Checkpoint.open(config.model, trust_remote_code=config.trust_remote_code)
    protocol = open_protocol(
        config.protocol,
        checkpoint,
        min_pixels=config.min_pixels,
        max_pixels=config.max_pixels,
        image_backend=config.image_backend,
    )
    encoder = None
    if checkpoint is not None:
        import torch

        from radar_fast.engines.encode.encoder import Encoder

        encoder = Encoder(checkpoint, protocol, torch.float32)
    for sample in islice(benchmark.samples(), count):
        if sample.reason is not None:
            yield f"{sample.task} {sample.id}: unscored: {sample.reason}"
            continue
        prompt = protocol.prompt(sample)
        yield from prompt_lines(prompt)
        if encoder is None or checkpoint is None:
            continue
        tokens = encoder.tokenise(prompt)
        if isinstance(tokens, Reason):
            yield f"  unscored  {tokens}"
            continue
        split = tokens.split
        yield from token_lines(
            checkpoint.processor.tokenizer, tokens.prefix, split.shared, split.suffixes, split.scored_from
        )
