"""What a scoring in memory leaves on disk: a result folder for each step, as a run on its checkpoint would."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from radar_fast.benchmark import survey
from radar_fast.engines import EngineOptions
from radar_fast.protocols import Protocol, prompt_digest
from radar_fast.results.folder import IDENTITY, ResultFolder
from radar_fast.results.journal import Journal
from radar_fast.results.record import Record
from radar_fast.results.summary import Summary
from radar_fast.sample import Sample

__all__ = ["Keeper"]


class Keeper:
    """Writes ``out/step-<step>``: run.json, samples.jsonl and summary.json."""

    def __init__(self, out: Path, samples: Sequence[Sample], protocol: Protocol, architecture: str) -> None:
        self._out, self._architecture = out, architecture
        self._survey = survey(samples, Path("/"))
        self._protocol: dict[str, Any] = dict(protocol.settings)
        self._prompt = prompt_digest(protocol)

    def keep(self, step: int, options: EngineOptions, records: Sequence[Record], summary: Summary) -> None:
        """Write what was scored at a step, in place of what an earlier training left there for the same step.

        Raises:
            ResultsError: it cannot be written.
        """
        folder = ResultFolder(self._out / f"step-{step}")
        folder.make()
        for file in (folder.summary, folder.samples, folder.run):
            file.unlink(missing_ok=True)
        identity = {
            "version": IDENTITY,
            "model": {"in_memory": self._architecture, "step": step},
            "data": {"format": "samples", "samples": self._survey.samples, "sha256": self._survey.digest},
            "protocol": self._protocol,
            "prompt": self._prompt,
            "engine": {"name": "transformers", "device": options.device, "dtype": options.dtype},
        }
        with Journal.open(folder.samples) as journal:
            folder.claim(identity, {"out": str(folder.path)}, empty=True, step=step)
            journal.append(records)
        folder.write_summary(summary)
