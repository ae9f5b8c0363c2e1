"""Records -> the files that RADAR's published scripts write, so that tools made for those can read a run of ours.

A folder per data file with two files: ``<name>.json`` lists the scored records, ``<name>.txt`` has the line with the
success rate and the mean probability of the answer. Directories of MMBench and MMMU_Pro also have a ``total`` folder
over their files. The arithmetic is the scripts' own, plain sums in file order and a float32 softmax, so that the
digits agree too. Their denominators differ from those of :mod:`radar_fast.results.metrics`: a record that could not be
scored counts in the success rate, and not in the mean probability. An answer without distraction, which is unscored
here, counts as the scripts count it: right, with probability 1.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from radar_fast.errors import ResultsError
from radar_fast.results.manifest import Manifest
from radar_fast.results.metrics import is_macro
from radar_fast.results.record import Record
from radar_fast.sample import ONLY_PUBLISHED, ReasonKind
from radar_fast.scores import mean_score, softmax_float32
from radar_fast.util.atomic import write_bytes_atomic

__all__ = ["export_official", "official_name", "writes_prompts"]

TOTAL = "total"

_TAG = "<image>"
_MOST_IMAGES = 1000
"""That a record may say of its question; what says more was not written by a run."""

_NO_DISTRACTOR = ReasonKind.NO_DISTRACTOR.value


@dataclass(frozen=True, slots=True)
class _FileResult:
    """The text line of one data file, in numbers."""

    accuracy: float
    avg_prob: float
    """NaN where nothing is scored, as in the text line."""


def export_official(records: Iterable[Record], folder: str | Path, name: str, *, prompts: bool = False) -> list[Path]:
    """Write the published scripts' files below ``folder``; the paths written, in order.

    ``name`` is what the scripts make of the model's folder and its image size, such as
    ``Qwen2-VL-7B_200704~602112``. A data file is known by its directory and ``metadata["stem"]``, or else the
    task's name; its records go by ``metadata["index"]``, or else by id. Where the scripts say nothing: a file with
    nothing scored has ``nan`` in its text and null in the total, whose mean probability leaves it out (theirs divide
    by zero).

    ``prompts``: write the prompt for the question, as the LLaVA script does and the others do not.

    All records are held at once, about 3 KB each: they come in the order they were scored in, and a file needs its
    own together. Raises ResultsError for a directory, data file or ``name`` that is not a plain file name, a scored
    record without ``metadata["question"]``, and a file that cannot be written.
    """
    folder = Path(folder)
    _require_plain(name, "the name of the files")
    directories: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        stem = str(record.metadata.get("stem", record.task))
        directories.setdefault(record.directory, {}).setdefault(stem, []).append(record)
    for directory, files in directories.items():
        _require_plain(directory, "the directory of a sample")
        for stem in files:
            _require_plain(stem, f"a data file of {directory!r}")
        if is_macro(files) and TOTAL in files:
            raise ResultsError(f"a data file of {directory!r} is called {TOTAL!r}, as the folder of all: rename it")

    written: list[Path] = []
    for directory, files in sorted(directories.items()):
        results = {}
        for stem, members in sorted(files.items()):
            members.sort(key=_place)
            results[stem] = _export_file(members, folder / directory / stem, name, written, prompts=prompts)
        if is_macro(files):
            _export_total(results, folder / directory / TOTAL, name, written)
    return written


def official_name(manifest: Manifest) -> str:
    """The published scripts' file name: the model folder's, and what bounds the tokens of an image.

    Raises:
        ResultsError: the manifest does not say how images are bounded.
    """
    model = manifest.model
    name = Path(model).name if model else "fake"
    try:
        protocol = manifest.identity["protocol"]
        if protocol["name"] == "internvl":
            return f"{name}_{256 * protocol['tiles']}"
        if model and protocol["name"] == "plain":
            return f"{'_'.join(Path(model).parts[-2:])}_729"
        if protocol["name"] == "qwen2vl":
            return f"{name}_{protocol['min_pixels']}~{protocol['max_pixels']}"
    except (KeyError, TypeError):
        raise ResultsError(
            "run.json: its identity has no whole 'protocol'; another program has written to it"
        ) from None
    return name


def writes_prompts(manifest: Manifest) -> bool:
    """Whether the published script of a run's protocol writes the prompt in place of the question."""
    protocol = manifest.identity.get("protocol")
    return isinstance(protocol, Mapping) and protocol.get("name") == "plain"


def _export_file(
    records: Sequence[Record], folder: Path, name: str, written: list[Path], *, prompts: bool
) -> _FileResult:
    results = [found for record in records if (found := _result_of(record, prompts=prompts)) is not None]
    successes = sum(success for _, success, _ in results)
    probabilities = [probability for _, _, probability in results]
    result = _FileResult(successes / len(records), _mean(probabilities))
    line = f"Success Rate: {successes}/{len(records)}:{result.accuracy * 100:.2f}%, Answer Prob: {result.avg_prob}\n"
    _write(folder, name, [fields for fields, _, _ in results], line, written)
    return result


def _result_of(record: Record, *, prompts: bool) -> tuple[dict[str, object], bool, float] | None:
    """The published fields of one record, its success, and the probability of its answer; None for one that the
    scripts skip, or would have failed on."""
    alone = record.status != "scored" and record.reason_kind == _NO_DISTRACTOR and len(_as_written(record)) == 1
    counted = record.reason_kind in ONLY_PUBLISHED and record.logits
    if record.status != "scored" and not alone and not counted:
        return None
    if "question" not in record.metadata:
        raise ResultsError(
            f"sample {record.id!r} of task {record.task!r}: the published files hold the question, and its metadata "
            "has no 'question'; export data read from the published layout"
        )
    question = _prompt(record) if prompts else record.metadata["question"]
    if alone:  # to the scripts, an answer without distraction is certain; nobody has asked a model for its logits
        answers, logits, means, probabilities = _as_written(record), [None], [None], (1.0,)
        return _fields(record, question, answers, logits, means, probabilities), True, 1.0
    answer = record.answer
    if answer is None:
        raise ResultsError(f"sample {record.id!r} of task {record.task!r} is scored without an answer; remove its line")
    # The scripts put the answer first. Elsewhere it may stand anywhere; the others keep their order, as in `judge`.
    order = [answer, *(index for index in range(len(record.candidates)) if index != answer)]
    texts: list[object] = [record.candidates[index] for index in order]
    written = _as_written(record)
    tokens = [list(record.logits[index]) for index in order]
    scores = [mean_score(candidate) for candidate in tokens]
    shares = softmax_float32(scores)
    success = shares[0] == max(shares)  # argmax is 0: the first wins a tie
    answers = written if list(map(str, written)) == texts else texts
    return _fields(record, question, answers, tokens, scores, shares, success=success), success, shares[0]


def _fields(
    record: Record,
    question: object,
    answers: Sequence[object],
    logits: Sequence[object],
    means: Sequence[object],
    probabilities: Sequence[float],
    *,
    success: bool = True,
) -> dict[str, object]:
    return {
        "q_id": record.id,
        "question": question,
        "answers": list(answers),
        "success": success,
        "answer_prob": list(probabilities),
        "answers_avg_logits": list(means),
        "answers_ori_logits": list(logits),
    }


def _as_written(record: Record) -> list[object]:
    """Answer and distraction in the types of the data file, where the reader has noted them."""
    noted = record.metadata.get("answers")
    try:
        values = json.loads(noted) if isinstance(noted, str) else []
    except (ValueError, RecursionError):
        return []
    return values if isinstance(values, list) else []


def _prompt(record: Record) -> str:
    """What the LLaVA script makes of a question before the conversation's own marks."""
    question = str(record.metadata["question"])
    file = str(record.metadata.get("stem", record.task))
    if "MMMU_Pro" in file:
        return re.sub(r"<image \d+>", _TAG, str(record.metadata.get("asked", question)))
    if "MMBench" in file or "MathVista" in file:
        return f"{_TAG}\n{question}"
    images = record.metadata.get("images") if "SeePhys" in file else 1
    count = images if isinstance(images, int) and 0 <= images <= _MOST_IMAGES else 1
    return f"{_TAG * count} {question}"


def _export_total(results: dict[str, _FileResult], folder: Path, name: str, written: list[Path]) -> None:
    accuracies = sum(result.accuracy for result in results.values())
    probability = _mean([result.avg_prob for result in results.values() if not math.isnan(result.avg_prob)])
    line = (
        f"Average Success Rate: {accuracies}/{len(results)}:{accuracies / len(results) * 100:.2f}%, "
        f"Average Answer Prob: {probability}\n"
    )
    total = {
        stem.split("_pretrained_mllm_eval")[0]: {
            "accuracy": result.accuracy,
            "avg_prob": None if math.isnan(result.avg_prob) else result.avg_prob,
        }
        for stem, result in results.items()
    }
    _write(folder, name, total, line, written)


def _write(folder: Path, name: str, value: object, line: str, written: list[Path]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise ResultsError(f"cannot make the folder {str(folder)!r}: {error}. Name another --official-out") from error
    # json as in the scripts, not orjson: separators and escapes are to agree as well.
    contents = {f"{name}.json": json.dumps(value), f"{name}.txt": line}
    for file, text in contents.items():
        write_bytes_atomic(folder / file, text.encode())
        written.append(folder / file)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _place(record: Record) -> tuple[float, str, str]:
    index = record.metadata.get("index")
    return (index if isinstance(index, int) else math.inf), record.id, record.task


def _require_plain(name: str, what: str) -> None:
    # It comes from the data and becomes part of a path: it must not lead anywhere else.
    if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
        raise ResultsError(f"{what} is {name!r}, which cannot name a folder or file; rename it in the data")
