"""A checkpoint folder on disk: what it says of itself, a fingerprint of its files, and who may take its place.

Nothing here loads weights. transformers is imported only when the processor is asked for.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from radar_fast.errors import IncompleteError, ModelError, one_line
from radar_fast.models import internvl
from radar_fast.models.explained import explained
from radar_fast.models.fingerprint import digests, file_states, prompt_files, weight_digests
from radar_fast.models.processor import load_processor
from radar_fast.models.small_files import read_whole
from radar_fast.models.soundness import require_sound
from radar_fast.models.training_folders import advice

__all__ = ["COMPOSED", "Checkpoint"]

COMPOSED = "composed.json"
"""Written by ``radar-fast compose``: what a folder was put together from, and the protocol its prompts follow."""

_LARGEST = 16 * 2**20
"""Bytes of a config.json from where on it is none."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder with ``config.json``, weights, tokenizer and image processor, as ``save_pretrained`` writes it."""

    path: Path
    """The folder, absolute."""
    config: Mapping[str, Any]
    """``config.json``."""
    trust_remote_code: bool = False
    """Whether code that lies in the folder may be run."""

    @classmethod
    def open(cls, path: str | Path, *, trust_remote_code: bool = False) -> "Checkpoint":
        """Read ``path/config.json``.

        Raises:
            IncompleteError: config.json ends too early.
            ModelError: there is no such folder, or no readable config.json in it; where the folder is one that a
                trainer writes, what makes a checkpoint of it.
        """
        path = Path(path)
        if not path.is_dir():
            raise ModelError(
                f"{path}: no such checkpoint folder; --model takes a folder written by save_pretrained", path=path
            )
        path = path.resolve()
        config = _read_config(path)
        if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
            raise ModelError(f"{path / 'config.json'}: no model_type in it; this is no transformers checkpoint")
        return cls(path, config, trust_remote_code)

    @property
    def name(self) -> str:
        """The folder's own name, as the published scripts use it."""
        return self.path.name

    @property
    def model_type(self) -> str:
        """``model_type`` of config.json, e.g. ``qwen2_vl``."""
        return str(self.config["model_type"])

    @property
    def architecture(self) -> str:
        """First of ``architectures`` of config.json, or ``unknown``."""
        named = self.config.get("architectures")
        return str(named[0]) if isinstance(named, list) and named else "unknown"

    @property
    def dtype(self) -> str:
        """The dtype that config.json names (``bfloat16``, ``float16``, ``float32``); float32 where it names none."""
        for section in (self.config, self.config.get("text_config"), self.config.get("llm_config")):
            if isinstance(section, dict):
                named = section.get("dtype") or section.get("torch_dtype")
                if isinstance(named, str):
                    return named.removeprefix("torch.")
        return "float32"

    @cached_property
    def composed_protocol(self) -> str | None:
        """The protocol that ``radar-fast compose`` wrote down for the folder; None for any other folder.

        Raises:
            ModelError: composed.json cannot be read, or names none.
        """
        return self.composed("protocol", required=True)

    def composed(self, name: str, *, required: bool = False) -> str | None:
        """What ``radar-fast compose`` wrote down under a name; None where it did not, and for any other folder.

        Raises:
            ModelError: composed.json cannot be read, or lacks what is required.
        """
        path = self.path / COMPOSED
        try:
            written = orjson.loads(read_whole(path, _LARGEST))
            found = written[name] if required else written.get(name)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{path}: cannot be read: {one_line(error)}; compose the folder again", path=path
            ) from None
        return None if found is None else str(found)

    @property
    def is_internvl(self) -> bool:
        """Whether it is an InternVL, as published or as transformers lays it out."""
        return self.model_type in (internvl.MODEL_TYPE, "internvl")

    def require_sound(self) -> list[str]:
        """See that its weights can be trusted: :func:`radar_fast.models.soundness.require_sound`, once.

        Returns:
            What a person should know all the same, a line each.

        Raises:
            IncompleteError, ModelError: as there.
        """
        return list(self._soundness)

    @cached_property
    def _soundness(self) -> list[str]:
        return require_sound(self.path, self.config, trust_remote_code=self.trust_remote_code)

    def fingerprint(self) -> dict[str, str]:
        """File name -> SHA-256, for every file in the folder that can change a score.

        See :mod:`radar_fast.models.fingerprint`. A copy of a checkpoint keeps its fingerprint.

        Raises:
            IncompleteError: a file that the index of its weights names is not there.
            ModelError: a file cannot be read.
        """
        return dict(sorted({**self._prompt_digests, **weight_digests(self.path)}.items()))

    @cached_property
    def _prompt_digests(self) -> dict[str, str]:
        """Of the files but weights, as they were when first asked for: the folder may be gone when another comes."""
        return digests(self.path, self.config, code=self.trust_remote_code)

    @cached_property
    def state(self) -> dict[str, tuple[int, int, int]]:
        """What tells that its files were written to or replaced, as it was when this was first asked for."""
        return self._state()

    def _state(self) -> dict[str, tuple[int, int, int]]:
        weights = (file for suffix in ("safetensors", "bin") for file in self.path.glob(f"*.{suffix}"))
        return file_states(self.path, [self.path / "config.json", *prompt_files(self.path, code=True), *weights])

    def require_unchanged(self) -> None:
        """See that nobody wrote to its files since :attr:`state` was first asked for.

        Raises:
            IncompleteError: somebody did, so that nobody knows which weights were loaded.
        """
        before, now = self.state, self._state()
        if changed := sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name)):
            raise IncompleteError(
                f"{self.path}: {changed[0]} changed while it was being read; still being written? Score it once it is "
                "whole",
                path=self.path,
            )

    def differing_files(self, other: "Checkpoint") -> list[str]:
        """Names of the files, weights apart, in which two checkpoints differ: what prompts are made by, and the model.

        Where there are none, ``other`` can take this one's place in a session. What config.json says of itself
        (its own path, the version that wrote it) may differ.

        Raises:
            ModelError: a file cannot be read.
        """
        mine, theirs = self._prompt_digests, other._prompt_digests
        found = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        if "config.json" not in found and self.dtype != other.dtype:
            found.append("config.json")
        return found

    def successor(self, path: Path) -> "Checkpoint":
        """The checkpoint at ``path``, if it can take this one's place in a session.

        Raises:
            ModelError: there is none, or it differs in more than its weights.
        """
        checkpoint = Checkpoint.open(path, trust_remote_code=self.trust_remote_code)
        if differing := self.differing_files(checkpoint):
            raise ModelError(
                f"{path}: its {', '.join(differing)} is not that of {self.path}; only checkpoints that "
                "differ in their weights alone can follow one another in one engine",
                path=path,
            )
        return checkpoint

    @cached_property
    def processor(self) -> Any:
        """The checkpoint's own transformers processor, with PIL resizing and without its video part.

        PIL is what the published scripts ran with; the video part is left out because it alone needs torchvision.

        Raises:
            ModelError: the folder has none that transformers knows, or it needs code that may not be run.
        """
        with self.explained("processor"):
            return load_processor(self.path, self.config, trust_remote_code=self.trust_remote_code)

    def processor_with(self, image_backend: str) -> Any:
        """The same, its images resized by ``pil`` or by ``torchvision``. Raises ModelError likewise."""
        if image_backend == "pil":
            return self.processor
        with self.explained("processor"):
            return load_processor(
                self.path, self.config, trust_remote_code=self.trust_remote_code, image_backend=image_backend
            )

    def explained(self, part: str) -> AbstractContextManager[None]:
        """A context in which what transformers raises while it loads ``part`` becomes one clear ModelError."""
        return explained(self.path, self.model_type, self.architecture, part)


def _read_config(path: Path) -> Any:
    """``config.json``. Raises IncompleteError, ModelError."""
    file = path / "config.json"
    try:
        raw = read_whole(file, _LARGEST)
        return orjson.loads(raw)
    except FileNotFoundError:
        told = advice(path) or "no config.json in it; --model takes a folder written by save_pretrained"
        raise ModelError(f"{path}: {told}", path=path) from None
    except ValueError as error:
        if not raw:
            raise IncompleteError(f"{file}: incomplete; still being written? It is empty", path=file) from None
        raise ModelError(f"{file}: cannot be read: {one_line(error)}", path=file) from None
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {one_line(error)}", path=file) from None
