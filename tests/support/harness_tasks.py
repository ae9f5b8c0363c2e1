"""Tiny tasks of lm-evaluation-harness in its own YAML, on files of ours: nothing is fetched. For tests and bench/."""

import json
from pathlib import Path
from random import Random
from typing import Any

WORDS = "red green blue yellow purple orange light dark circle square triangle hexagon small medium large"

_CHOICE = """
task: tiny_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{file}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
target_delimiter: " "
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1}}
"""

_SHOTS = """
task: tiny_shots
include: choice.yaml
num_fewshot: 2
fewshot_split: test
doc_to_text: "{{question}}  "
target_delimiter: ""
metric_list: [{metric: acc_norm, aggregation: mean, higher_is_better: true}]
"""

_LAST_WORD = """
task: tiny_last_word
include: choice.yaml
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_choice: null
doc_to_target: " {{choices[answer]}}"
metric_list: [{metric: perplexity, aggregation: perplexity}, {metric: acc, aggregation: mean}]
"""

_ROLLING = """
task: tiny_rolling
include: choice.yaml
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_choice: null
doc_to_target: "{{question}} {{question}} {{question}}"
metric_list: [{metric: word_perplexity}]
"""

TASKS = ("tiny_choice", "tiny_shots", "tiny_last_word", "tiny_rolling")


def write_tasks(folder: Path, *, questions: int = 12, choices: int = 4, words: int = 12) -> Path:
    """The tasks' folder, for ``TaskManager(include_path=...)``; a question has about so many words."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = Random(1)
    rows: list[dict[str, Any]] = [
        {
            "question": f"{number} " + " ".join(rng.choices(WORDS.split(), k=rng.randint(words // 2, words))) + "?",
            "choices": [" ".join(rng.choices(WORDS.split(), k=1 + place % 3)) for place in range(choices)],
            "answer": rng.randrange(choices),
        }
        for number in range(questions)
    ]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "choice.yaml").write_text(_CHOICE.format(file=file))
    for name, text in (("shots", _SHOTS), ("last_word", _LAST_WORD), ("rolling", _ROLLING)):
        (folder / f"{name}.yaml").write_text(text)
    return folder
