"""docs/formats: the example of every page, as it stands there, reads as the samples that the page says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from radar_fast.readers import FORMATS, open_reader
from radar_fast.sample import ImageFile, Sample

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted((DOCS / "formats").glob("*.md"))
BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def set_up(page: Path, data: Path) -> list[dict[str, object]]:
    """Put the page's files into the folder, and return the samples that it lists."""
    listed: list[dict[str, object]] = []
    for language, name, text in BLOCK.findall(page.read_text()):
        if (language, name) == ("json", "samples"):
            listed += json.loads(text)
        elif (language, name) == ("text", "tree"):
            for path in text.split():
                (data / path).parent.mkdir(parents=True, exist_ok=True)
                (data / path).touch()
        elif language == "python":
            pytest.importorskip("pyarrow")
            subprocess.run([sys.executable, "-c", text], cwd=data, check=True)
        else:
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_text(text)
    return listed


def as_listed(sample: Sample, data: Path) -> dict[str, object]:
    def part(piece: object) -> object:
        if isinstance(piece, str):
            return piece
        return {"image": str(piece.path.relative_to(data)) if isinstance(piece, ImageFile) else piece.name}  # type: ignore[attr-defined]

    return {
        "task": sample.task,
        "id": sample.id,
        "ability": sample.ability,
        "parts": list(map(part, sample.parts)),
        "candidates": list(sample.candidates),
        "answer": sample.answer,
    }


def test_every_format_has_a_page() -> None:
    assert {page.stem for page in PAGES} == set(FORMATS)
    index = (DOCS / "formats.md").read_text()
    for name in FORMATS:
        assert f"[{name}](formats/{name}.md)" in index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_example_reads_as_the_page_says(tmp_path: Path, page: Path) -> None:
    data = tmp_path / "bones"
    data.mkdir()
    listed = set_up(page, data)
    reader = open_reader(data)
    assert reader.format == page.stem
    samples = list(reader)
    assert [sample.reason for sample in samples] == [None] * len(samples)
    assert listed
    assert [as_listed(sample, data) for sample in samples] == listed


@pytest.mark.parametrize("page", [DOCS / "formats.md", *PAGES], ids=lambda page: page.stem)
def test_links_and_commands(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for option in re.findall(r"--format (\w+)", text):
        assert option in (*FORMATS, "auto")
