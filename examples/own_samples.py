"""Questions in nobody's format, through the journal, with news of the run: ``python examples/own_samples.py OUT``.

The fake engine scores them; name a checkpoint as ``model`` and leave ``engine`` out for scores that mean something.
"""

import sys
from pathlib import Path

from radar_fast import RunConfig, Sample, SilentProgress, score_samples


class Dots(SilentProgress):
    """A dot a sample."""

    def advance(self) -> None:
        """One more."""
        print(".", end="", flush=True)


def questions() -> list[Sample]:
    """Sums, the answer first."""
    return [
        Sample(f"{a}+{b}", "sums", "arithmetic", "reasoning", (f"{a} + {b} =",), (str(a + b), str(a + b + 1)), 0)
        for a in range(4)
        for b in range(4)
    ]


def main(out: Path) -> None:
    """Score them; run again, it answers from the journal."""
    summary = score_samples(questions(), RunConfig(data=Path("sums"), out=out, engine="fake"), Dots())
    print(f"\nSDS {summary.overall.sds:.4f} over {summary.overall.scored} questions")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
