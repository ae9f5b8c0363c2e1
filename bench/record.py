"""Run ``radar-fast bench`` and keep what it says.

    python bench/record.py NAME [--out bench/results] -- ARGUMENTS OF radar-fast bench
    python bench/record.py NAME [--out bench/results]

The first appends the run's JSON line to NAME.jsonl and writes NAME.md anew from all lines there; the second only writes
NAME.md. To measure anew, delete NAME.jsonl.
"""

import argparse
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from radar_fast.bench.report import tables_of

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    # By hand: argparse lets no option stand between a positional and a list of them.
    mine, dashes, theirs = _split(sys.argv[1:])
    args = parser.parse_args(mine)
    lines = args.out / f"{args.name}.jsonl"
    status = 0
    if dashes:
        status, line = run(theirs)
        if line is None:
            return status
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


def run(arguments: list[str]) -> tuple[int, str | None]:
    """Show the run as it goes; its exit status, and its last line if that is a report."""
    command = [sys.executable, "-u", "-m", "radar_fast", "bench", *arguments]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return process.returncode, last if process.returncode in (0, 1) and last.startswith("{") else None


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
