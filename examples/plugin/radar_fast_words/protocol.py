"""The protocol ``politely``."""

from dataclasses import replace

from radar_fast import Checkpoint, Prompt, Protocol, Sample


def politely(checkpoint: Checkpoint) -> Protocol:
    """The protocol of Qwen2-VL, which says please."""
    from radar_fast import open_protocol  # it knows all protocols, this one too, so it comes after them

    usual = open_protocol("qwen2vl", checkpoint)

    def prompt(sample: Sample) -> Prompt:
        return usual.prompt(replace(sample, parts=("Please: ", *sample.parts)))

    return replace(usual, name="politely", prompt=prompt, settings={**usual.settings, "name": "politely"})
