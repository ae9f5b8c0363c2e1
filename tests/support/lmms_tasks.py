"""A tiny task of lmms-eval in its own YAML, on pictures made here: nothing is fetched."""

import base64
import io
import json
from pathlib import Path

from PIL import Image

_YAML = """
task: tiny_pictures
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{file}"}}}}
test_split: test
output_type: multiple_choice
doc_to_visual: !function utils.visual
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
target_delimiter: " "
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: [{{version: 0.0}}]
"""

_UTILS = """
import base64
import io

from PIL import Image


def visual(doc):
    return [Image.open(io.BytesIO(base64.b64decode(doc["picture"])))]
"""


def write_pictures_task(folder: Path) -> tuple[Path, list[Path]]:
    """The folder for ``--include_path``, and the pictures of its four questions."""
    folder.mkdir(parents=True)
    pictures, rows = [], []
    for number in range(4):
        picture = Image.effect_mandelbrot((80 + 28 * number, 90), (-2, -1, 1, 1), 10 + 10 * number).convert("RGB")
        pictures.append(folder / f"{number}.png")
        picture.save(pictures[-1])
        data = io.BytesIO()
        picture.save(data, "PNG")
        choices = ["red", "dark blue", "a hexagon"][: 2 + number % 2]
        text = base64.b64encode(data.getvalue()).decode()
        rows.append({"question": f"What is {number}?", "choices": choices, "answer": 1, "picture": text})
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tiny_pictures.yaml").write_text(_YAML.format(file=file))
    (folder / "utils.py").write_text(_UTILS)
    return folder, pictures
