"""CPU time a sample with one request a sample and with one a candidate, in turn in one vLLM engine.

    PYTHONPATH=.:tests/support VLLM_ENABLE_V1_MULTIPROCESSING=0 OMP_NUM_THREADS=1 \\
        python bench/one_request_in_process.py [--data DIR] [--rounds 3]

For a machine that others use too: everything runs in this process, whose own CPU time is read (one thread that encodes,
one of torch's), and one start serves both. ``--data`` is scored beside generated samples. Prints a line a workload.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from side_by_side import largest_difference, opened, scored_by
from vllm_engines import per_candidate

from radar_fast.bench.workload import generated_samples
from radar_fast.demo import write_checkpoints
from radar_fast.demo.show import PIXELS
from radar_fast.engines.vllm.engine import VllmEngine
from radar_fast.readers import open_reader
from radar_fast.sample import Sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=int, default=512, help="samples of --data")
    parser.add_argument("--samples", type=int, default=128, help="of each generated workload")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_checkpoints(folder / "checkpoints")[-1]
        engine, protocol = opened("vllm", model, pixels=(PIXELS, PIXELS), request="one", workers=1)
        assert isinstance(engine, VllmEngine)
        works: dict[str, list[Sample]] = {}
        if args.data is not None:
            works[args.data.name] = [s for s in open_reader(args.data) if s.reason is None][: args.limit]
        for words in (0, 190):
            for candidates in (2, 4, 8):
                made = folder / f"{words}-{candidates}"
                made.mkdir()
                works[f"{words} words, K = {candidates}"] = generated_samples(
                    made, count=args.samples, candidates=candidates, size=(56, 64), words=words
                )
        for title, samples in works.items():
            seconds: dict[str, list[float]] = {"per-candidate": [], "one": []}
            found = {}
            for _ in range(args.rounds + 1):
                for request, spent in seconds.items():
                    engine.drop_caches()
                    started = time.process_time()
                    if request == "one":
                        found[request] = scored_by(engine, protocol, samples)
                    else:
                        with per_candidate(engine):
                            found[request] = scored_by(engine, protocol, samples)
                    spent.append(time.process_time() - started)
            old, new = (1000 * statistics.median(spent[1:]) / len(samples) for spent in seconds.values())
            rows = [sum(s.tokens_computed for s in each.values()) / len(samples) for each in found.values()]
            apart = largest_difference(found["one"], found["per-candidate"])
            print(
                f"{title}: {old:.2f} -> {new:.2f} ms, {old / new:.2f} times; {rows[0]:.1f} -> {rows[1]:.1f} rows; "
                f"{apart:.1e} apart",
                flush=True,
            )
        engine.close()


if __name__ == "__main__":
    main()
