"""easy-VQA, 48,248 questions on 64 x 64 pictures, as a benchmark that radar-fast reads.

    pip install '.[bench]' && python bench/easy_vqa_data.py DIR [--samples 15360]
    python bench/throughput.py --data DIR --model CKPT --option=--min-pixels=3136 --option=--max-pixels=3136

Writes ``questions.jsonl`` and the pictures. A question has the answers of its kind as candidates: yes or no, three
shapes or eight colours.
"""

import argparse
import json
import shutil
from pathlib import Path

import easy_vqa

KINDS = (
    ("yes", "no"),
    ("circle", "rectangle", "triangle"),
    ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=15360, help="the first so many")
    args = parser.parse_args()
    (args.folder / "images").mkdir(parents=True)
    paths = easy_vqa.get_train_image_paths()
    lines = []
    for text, answer, image in list(zip(*easy_vqa.get_train_questions(), strict=True))[: args.samples]:
        [options] = [kind for kind in KINDS if answer in kind]
        name = f"images/{image}.png"
        if not (args.folder / name).exists():
            shutil.copyfile(paths[image], args.folder / name)
        lines.append(json.dumps({"image": name, "question": text, "options": options, "answer": answer}))
    (args.folder / "questions.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
