"""The format ``words``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from radar_fast import Format, Sample


@dataclass(frozen=True)
class WordsReader:
    """``*.words``: a line a question, ``question | answer | distractor | ...``."""

    root: Path
    files: tuple[Path, ...]
    format: str = "words"

    def __iter__(self) -> Iterator[Sample]:
        for file in self.files:
            for number, line in enumerate(file.read_text().splitlines()):
                question, *candidates = (part.strip() for part in line.split("|"))
                yield Sample(str(number), file.stem, self.root.name, "words", (question,), tuple(candidates), 0)


def find(folder: Path) -> list[Path]:
    """What a folder of this format holds."""
    return sorted(folder.glob("*.words"))


WORDS = Format(
    name="words",
    needs="*.words: a line a question",
    files=find,
    open=lambda data, _: WordsReader(data, tuple(find(data))),
)
