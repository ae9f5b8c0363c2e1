"""Records of published benchmarks as they lie on disk, and folders that hold some."""

import json
from pathlib import Path
from typing import Any

# A folder a class

TOML = """
question = "What is broken?"
ability = "seeing"
graded = true
split_at = 1
[classes]
none = "nothing"
arm = "an arm"
"a leg" = "a leg"
"""


def write_classes(data: Path, *files: str, toml: str | bytes | None = TOML) -> Path:
    for file in files:
        (data / file).parent.mkdir(parents=True, exist_ok=True)
        (data / file).touch()
    data.mkdir(exist_ok=True)
    if toml is not None:
        (data / "classes.toml").write_bytes(toml.encode() if isinstance(toml, str) else toml)
    return data


# MathVerse

QUESTION = "In triangle ABC, angle A = 80.0, then angle CED is ()\nChoices:\nA:40°\nB:60°\nC:120°\nD:140°"
MATHVERSE: dict[str, Any] = {
    "sample_index": "1",
    "problem_index": "1",
    "problem_version": "Text Dominant",
    "question": QUESTION,
    "image": "images_version_1-4/image_1.png",
    "answer": "D",
    "question_type": "multi-choice",
    "metadata": {"split": "testmini", "source": "GeoQA", "subject": "Plane Geometry", "subfield": "Angle"},
    "query_wo": "Please directly answer ...",
    "query_cot": "Please first conduct reasoning ...",
}


def write_mathverse(data: Path, content: object, name: str = "testmini.json") -> Path:
    data.mkdir(exist_ok=True)
    (data / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return data


# PGPS9K

PGPS9K: dict[str, Any] = {
    "diagram": "img_7.png",
    "text": "What is the length of UB?",
    "parsing_stru_seqs": [
        "line Q U R",
        "line U B",
        "line D E I K",
        "line m lieson A C",
        "\\odot X lieson W V",
        "line A B C D E F",
    ],
    "parsing_sem_seqs": ["BT = 30", "RS \\perp AB on R"],
    "expression": "Multiple V0 C2 N2 Get V0",
    "answer": "28.685",
    "type": "Midsegment of Triangle ",
    "book": "Geometry3K",
    "page": "327",
    "choices": [25.6, 28.7, 61.3, 33.941125496954285],
}
"""As published, down to the spaces after its type."""


def write_pgps9k(data: Path, content: object, name: str = "test.json", images: str = "Diagram_Visual") -> Path:
    (data / images).mkdir(parents=True, exist_ok=True)
    (data / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return data
