"""Time a report of a long series, and how its page opens.

    python bench/growth.py --out /tmp/series
    PYTHONPATH=tests/support python bench/report.py /tmp/series

Prints the median of --repeat runs: seconds and the most memory of ``radar_fast.write_report`` in a process of its own
(without pictures); the page's bytes; and, in headless Chromium, the milliseconds from opening the file to its first
paint, to all figures, to the list of samples, and of a step of the slider. Then one JSON line.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chromium import PATIENCE, browser

WRITTEN = """
import json, resource, sys, time
started = time.perf_counter()
from radar_fast import write_report
written = write_report([sys.argv[1]], sys.argv[2], pictures=0)
seconds = time.perf_counter() - started
print(json.dumps([seconds, time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""

OPENED = """
const at = (name) => performance.getEntriesByName(name)[0]?.startTime ?? null;
return [at("first-contentful-paint"), at("figures"), at("samples")];
"""

MOVED = """
const slider = document.getElementById("step");
const started = performance.now();
slider.value = Number(slider.value) - 1;
slider.dispatchEvent(new Event("input"));
document.body.getBoundingClientRect();
return performance.now() - started;
"""


def opened(page: Path, profile: Path) -> list[float]:
    """Milliseconds to first paint, figures and samples, and of a step of the slider, in a browser of its own."""
    with browser(profile) as chromium:
        chromium.get(page.as_uri())
        until = time.monotonic() + PATIENCE
        while None in (marks := chromium.execute_script(OPENED)):
            if time.monotonic() > until:
                raise SystemExit(f"{page}: not opened within {PATIENCE:.0f} s: {chromium.get_log('browser')}")
            time.sleep(0.2)
        steps = [chromium.execute_script(MOVED) for _ in range(9)]
        return [*marks, statistics.median(steps)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        for number in range(arguments.repeat):
            command = [sys.executable, "-c", WRITTEN, str(arguments.results), str(page)]
            written = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            runs.append([*written, *opened(page, Path(folder) / f"profile-{number}")])
        size = page.stat().st_size
    names = ("seconds", "cpu_seconds", "memory_mib", "paint_ms", "figures_ms", "samples_ms", "slider_ms")
    found = dict(zip(names, map(statistics.median, zip(*runs, strict=True)), strict=True))
    for name, value in found.items():
        print(f"{name:12} {value:10.1f}")
    print(f"{'bytes':12} {size:10}")
    print(json.dumps({"results": str(arguments.results), "repeat": arguments.repeat, "bytes": size, **found}))


if __name__ == "__main__":
    main()
