"""Small benchmarks on disk for tests that run the whole pipeline."""

import json
from collections.abc import Mapping
from pathlib import Path

from PIL import Image


def write_jsonl(folder: Path, count: int = 20, **changes: object) -> Path:
    """``count`` good records in one task, each with a picture of its own; ``changes`` go into the first."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(count):
        Image.new("RGB", (40 + index % 5 * 9, 50), (index * 9 % 256, 90, 30)).save(folder / f"{index}.png")
        record: dict[str, object] = {
            "id": f"q{index}",
            "image": f"{index}.png",
            "question": f"What is the colour of the shape in picture {index}?",
            "options": ["red", "dark blue", "green", "light yellow circle"][: 2 + index % 3],
            "answer": "red" if index % 2 else "dark blue",
        }
        if index == 0:
            record = {key: value for key, value in {**record, **changes}.items() if value is not ...}
        lines.append(json.dumps(record))
    (folder / "colours.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def write_m3(folder: Path, records: Mapping[str, object], directory: str, name: str) -> Path:
    """One M3 file; its records as given."""
    (folder / directory / "images").mkdir(parents=True, exist_ok=True)
    (folder / directory / name).write_text(json.dumps(records))
    return folder
