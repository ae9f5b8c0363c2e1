"""A contender's own process: ``python -m radar_fast.bench.worker``, told what to do in JSON lines.

Standard input brings one object a line, standard output answers each with one; whatever the libraries print goes to
standard error. The first object is the :class:`~radar_fast.bench.contender.Setup`; then ``{"samples": FILE, "folder":
DIR, "count": N or null}`` runs a round; the end of the input ends the process.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from radar_fast.bench.contender import Contender, Setup
from radar_fast.bench.table import open_contender
from radar_fast.bench.workload import read_samples
from radar_fast.errors import EngineError, RadarError, one_line

__all__ = ["main"]


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    contender: Contender | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if contender is None:
                contender = open_contender(Setup.from_dict(asked))
                answer: dict[str, Any] = {"settings": dict(contender.describe())}
            else:
                answer = _round(contender, Path(asked["samples"]), Path(asked["folder"]), asked["count"])
        except RadarError as error:
            answer = {"error": str(error), "kind": type(error).__name__}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {one_line(error)}", "kind": EngineError.__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    if contender is not None:
        contender.close()


def _round(contender: Contender, file: Path, folder: Path, count: int | None) -> dict[str, Any]:
    """One round, from the file of samples to the file of results. What it forgets before is not timed."""
    contender.forget()
    started = time.perf_counter()
    samples = read_samples(file, count)
    reading = time.perf_counter() - started
    outcome = contender.score(samples, folder)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "samples": len(samples),
        "logits": outcome.logits,
        "logprobs": outcome.logprobs,
        "tokens_computed": outcome.tokens_computed,
        "stages": {"read": reading, **outcome.stages},
        "settings": dict(contender.describe()),
    }


if __name__ == "__main__":
    main()
