"""Run ``radar-fast bench`` and keep what it says.

    python bench/record.py NAME [--out bench/results] [--seconds S] -- ARGUMENTS OF radar-fast bench
    python bench/record.py NAME [--out bench/results]

The first appends the run's JSON line to NAME.jsonl and writes NAME.md anew from all lines there; of a run that was cut
off, what was known after its last round. The second only writes NAME.md. To measure anew, delete NAME.jsonl.
"""

import argparse
import io
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from radar_fast.bench.report import tables_of

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--seconds", type=float, help="end the run after so long, and keep what is known")
    # By hand: argparse lets no option stand between a positional and a list of them.
    mine, dashes, theirs = _split(sys.argv[1:])
    args = parser.parse_args(mine)
    lines = args.out / f"{args.name}.jsonl"
    status = 0
    if dashes:
        status, line = run(theirs, args.seconds)
        if line is None:
            return status
        args.out.mkdir(parents=True, exist_ok=True)
        with lines.open("a") as file:
            file.write(line + "\n")
    if not lines.is_file():
        parser.error(f"{lines}: no such file; give the arguments of radar-fast bench after --")
    reports = [json.loads(line) for line in lines.read_text().splitlines()]
    (args.out / f"{args.name}.md").write_text(page(args.name, reports))
    return status


def _split(words: list[str]) -> tuple[list[str], bool, list[str]]:
    """What stands before ``--``, whether it is there, and what stands after it."""
    if "--" not in words:
        return words, False, []
    at = words.index("--")
    return words[:at], True, words[at + 1 :]


def run(arguments: list[str], seconds: float | None = None) -> tuple[int, str | None]:
    """Show the run as it goes, and end it after ``seconds``.

    Returns:
        Its exit status, and its report as a line: the whole, or what was known of it when it was cut off; None where
        nothing was.
    """
    with tempfile.TemporaryDirectory() as name:
        kept = Path(name) / "report.json"
        command = [sys.executable, "-u", "-m", "radar_fast", "bench", *arguments, "--report", str(kept)]
        process = subprocess.Popen(command)
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            print(f"cut off after {seconds:.0f} s", flush=True)
            status = 1
        finally:
            end(process)
        if not kept.is_file():
            return status or 1, None
        report = json.loads(kept.read_text())
        report["command"] = shlex.join(["radar-fast", "bench", *arguments])  # as asked for, without our own option
        return status, json.dumps(report)


def end(process: subprocess.Popen[bytes]) -> None:
    """It ends its contenders before itself, if it is let."""
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def page(name: str, reports: list[dict[str, Any]]) -> str:
    """Markdown: machine and versions of the last run, then a section a run with its command and tables."""
    last = reports[-1]
    machine = ", ".join(f"{key} {value}" for key, value in last["machine"].items() if value is not None)
    versions = ", ".join(f"{key} {value}" for key, value in last["versions"].items())
    parts = [f"# {name}", f"Machine: {machine}.", f"Versions: {versions}.", "Columns: [bench](../../docs/bench.md)."]
    for report in reports:
        tokens = report["prompt_tokens"]
        parts += [
            f"## {report['created'][:10]}: {report['candidates']} candidates",
            f"    {report['command']}",
            f"{report['model']}, {report['dtype']} on {report['device']}; {report['samples']} samples of "
            f"{report['data']}; {tokens['least']} to {tokens['most']} tokens a prompt (median {tokens['median']:.0f}), "
            f"{report['answer_tokens']:.1f} an answer; {report['rounds']} rounds; matrix products at "
            f"{report['matrix_flops_per_second'] / 1e9:.0f} GFLOP/s.",
            *([] if report.get("complete", True) else ["Cut off before its end."]),
            rendered(report),
        ]
    return "\n\n".join(parts) + "\n"


def rendered(report: dict[str, Any]) -> str:
    """The tables, indented as code."""
    text = io.StringIO()
    console = Console(file=text, width=200)
    for table in tables_of(report):
        console.print(table)
        console.print()
    return "\n".join(f"    {line}".rstrip() for line in text.getvalue().rstrip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
