"""lmms-eval's model ``radar-fast``: all continuations of a question in one pass, its images read once."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult
from lmms_eval.api.model import lmms
from tqdm import tqdm

from radar_fast.engines.base import WINDOW
from radar_fast.engines.device import resolve_device, resolve_dtype
from radar_fast.engines.encode.encoder import Encoded
from radar_fast.engines.transformers.loading import load_model
from radar_fast.errors import DataError, UsageError
from radar_fast.likelihoods.passes import BATCH_TOKENS, Passes
from radar_fast.likelihoods.questions import Questions, embedded
from radar_fast.models.checkpoint import Checkpoint

__all__ = ["RadarLMM"]

Loss = tuple[float, bool]
"""Mean negative log-probability of a continuation's tokens, and whether greedy decoding would say it."""


@dataclass(frozen=True)
class _Question:
    """A row of a task, as it is asked. Its images are read when it is its turn."""

    context: str
    show: Callable[[Any], Any] | None = None
    number: int = 0
    task: str = ""
    split: str = ""


class RadarLMM(lmms):  # type: ignore[misc] # lmms-eval is untyped here
    """Scores continuations: tasks of ``output_type: multiple_choice`` and ``loglikelihood``. It generates nothing.

    Where lmms-eval asks for a log-likelihood, its own models answer with the mean loss over the continuation's tokens,
    and its tasks take the least; so this one does the same.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str,
        device: str | None = None,
        dtype: str = "auto",
        batch_tokens: int | None = None,
        trust_remote_code: bool = False,
        batch_size: int | str | None = None,  # noqa: ARG002 - lmms-eval gives it; batch_tokens bounds a pass
        max_batch_size: int | None = None,  # noqa: ARG002
    ) -> None:
        """Load it.

        Args:
            pretrained: the folder of an image-text-to-text checkpoint.
            device: as torch names it; None: a GPU where there is one.
            dtype: of the weights, such as ``bfloat16``; ``auto``: on a GPU the checkpoint's own, else float32.
            batch_tokens: most token positions in one forward pass.
            trust_remote_code: let the checkpoint bring code.
            batch_size: of no effect.
            max_batch_size: of no effect.

        Raises:
            UsageError: it runs in several processes, or the dtype is none.
            ModelError: the checkpoint cannot be loaded.
        """
        super().__init__()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError("WORLD_SIZE: the model radar-fast runs in one process; start lmms-eval without accelerate")
        checkpoint = Checkpoint.open(pretrained, trust_remote_code=bool(trust_remote_code))
        named = str(device or "auto")
        where = torch.device(named) if ":" in named else resolve_device(named)
        chosen = resolve_dtype(str(dtype), checkpoint, where)
        self._questions = Questions(checkpoint, chosen)
        most = int(batch_tokens or BATCH_TOKENS.get(where.type, 4096))
        self._passes = Passes(load_model(checkpoint, chosen, where), checkpoint.name, chosen, where, most)

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """Of each request the loss of its continuation: a Loss, as the text of one of lmms-eval's results, since 0.7
        makes a string of whatever else a model answers, which its own tasks of choices then cannot take apart.

        Raises:
            DataError: a question has something other than text and images.
        """
        members: dict[_Question, list[int]] = {}
        said: list[str] = []
        for index, request in enumerate(requests):
            question, continuation = self._asked(request.args)
            members.setdefault(question, []).append(index)
            said.append(continuation)
        found: list[Loss] = [(0.0, False)] * len(said)
        questions = list(members)
        with tqdm(total=len(said), desc="Continuations") as bar:
            for start in range(0, len(questions), WINDOW):  # no more images than these are in memory at a time
                window = questions[start : start + WINDOW]
                groups = [self._encode(asked, [said[index] for index in members[asked]]) for asked in window]
                for number, answers in self._passes(groups):
                    lengths = [len(suffix) - groups[number].scored_from for suffix in groups[number].suffixes]
                    for index, length, (logprob, greedy) in zip(members[window[number]], lengths, answers, strict=True):
                        found[index] = -logprob / length, greedy
                    bar.update(len(answers))
        return [GenerationResult(text=loss) for loss in found]

    def _asked(self, arguments: tuple[Any, ...]) -> tuple[_Question, str]:
        """The question of a request, and its continuation."""
        context, continuation, *more = arguments
        if not isinstance(context, str):
            raise DataError(f"a question of the task is a {type(context).__name__}; radar-fast takes a text")
        if not more:  # the continuation for itself, with no question at all
            return _Question(context), str(continuation)
        show, number, task, split = more
        question = _Question(context, show, number, task, split)
        return question, str(continuation(self._row(question)) if callable(continuation) else continuation)

    def _row(self, question: _Question) -> Any:
        return self.task_dict[question.task][question.split][question.number]

    def _encode(self, question: _Question, continuations: Sequence[str]) -> Encoded:
        shown = question.show(self._row(question)) if question.show is not None else None
        return self._questions.encode(question.context, tuple(embedded(shown or [])), continuations)

    def generate_until(self, requests: Any) -> list[str]:
        """Never. Raises UsageError: it only scores."""
        raise UsageError(
            f"--tasks: {requests[0].task_name} generates, and the model radar-fast only scores; give tasks of "
            "output_type multiple_choice or loglikelihood, or lmms-eval's own model"
        )

    def generate_until_multi_round(self, requests: Any) -> list[str]:
        """Never. Raises UsageError: it only scores."""
        return self.generate_until(requests)
