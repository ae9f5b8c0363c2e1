"""An engine beside other work, by asyncio: ``python examples/stream.py CHECKPOINT DATA``."""

import asyncio
import sys
from contextlib import aclosing

from radar_fast import Checkpoint, EngineOptions, open_engine, open_protocol, open_reader

WANTED = 5


async def main(model: str, data: str) -> None:
    """Print the first few scores, then leave."""
    checkpoint = Checkpoint.open(model)
    protocol = open_protocol("auto", checkpoint)
    prompts = (protocol.prompt(sample) for sample in open_reader(data) if sample.reason is None)
    with open_engine("auto", checkpoint, protocol, EngineOptions()) as engine:
        async with aclosing(engine.stream(prompts)) as stream:
            count = 0
            async for scored in stream:
                if scored.verdict is not None:
                    print(f"{scored.sample.task} {scored.sample.id}: SDS {scored.verdict.probability:.3f}")
                count += 1
                if count == WANTED:
                    break


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
