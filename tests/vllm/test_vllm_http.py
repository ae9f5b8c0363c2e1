"""``--engine http`` against a real ``vllm serve``, which dies on the way and comes back."""

import contextlib
import threading
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

from command_line import run_cli
from served import free_port, kill, served
from side_by_side import opened, scored_by

from radar_fast import EngineOptions, RunConfig, score
from radar_fast.readers import Selection, open_reader
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import read_records
from radar_fast.terminal.progress import SilentProgress

BOUND = 1e-4
LIMIT = 4
MOST = ("--max-num-batched-tokens", "8192")


class KillsOnce(SilentProgress):
    """Kills the server once a few samples are in the journal, and has another started."""

    def __init__(self, end: "threading.Event") -> None:
        self.count, self._end = 0, end

    def advance(self) -> None:
        self.count += 1
        if self.count == 8:
            self._end.set()


@pytest.mark.full
def test_a_server_that_is_killed_and_started_again_loses_nothing(demo: Path, tmp_path: Path) -> None:
    """Every score is that of the engine in this process."""
    checkpoint, data, out = demo / "checkpoints" / "step-800", demo / "mini-m3", tmp_path / "out"
    port, end = free_port(), threading.Event()
    servers = contextlib.ExitStack()
    with servers:
        url, first = servers.enter_context(served(checkpoint, tmp_path, *MOST, port=port))

        def replace() -> None:
            end.wait()
            kill(first)
            servers.enter_context(served(checkpoint, tmp_path, *MOST, port=port))

        replacing = threading.Thread(target=replace)
        replacing.start()
        progress = KillsOnce(end)
        options = EngineOptions(url=url, workers=4)
        try:
            summary = score(RunConfig(data=data, out=out, engine="http", options=options, limit=LIMIT), progress)
        finally:
            end.set()
            replacing.join()
        refused = run_cli("score", "--engine", "http", "--url", url, "--data", data, "--out", out, "--min-pixels", "9")
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
        assert "--min-pixels 9: with --engine http the server settles" in refused.stderr
    every = list(Selection(limit=LIMIT).apply(open_reader(data)))
    samples = [one for one in every if one.reason is None]
    assert summary.complete
    assert (summary.overall.scored, progress.count) == (len(samples), len(every))
    engine, protocol = opened("transformers", checkpoint)
    with engine:
        wanted = scored_by(engine, protocol, samples)
    for record in read_records(out / "samples.jsonl"):
        if record.status == "unscored":
            continue
        for mine, theirs in zip(record.logits, wanted[record.key].candidates, strict=True):
            assert mine == pytest.approx(theirs.logits, abs=BOUND, rel=0)
        for mine, theirs in zip(record.logprobs, wanted[record.key].candidates, strict=True):
            assert mine == pytest.approx(theirs.logprobs, abs=BOUND, rel=0)
    identity = ResultFolder(out).manifest().identity
    assert identity["protocol"] == dict(protocol.settings)
    assert identity["engine"]["dtype"] == "float32"
    assert "sha256" in identity["engine"]["served"]
    assert url not in str(identity)
