"""A checkpoint folder on disk: what it says of itself, a fingerprint of its files, and who may take its place.

Nothing here loads weights. transformers is imported only when the processor is asked for.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from radar_fast.errors import ModelError, one_line
from radar_fast.models import internvl
from radar_fast.models.explained import explained
from radar_fast.models.processor import load_processor
from radar_fast.models.weights import require_shards

__all__ = ["COMPOSED", "Checkpoint"]

COMPOSED = "composed.json"
"""Written by ``radar-fast compose``: what a folder was put together from, and the protocol its prompts follow."""

_WHOLE = 64 * 2**20
"""Files up to this size (bytes) are hashed whole."""
_BLOCKS, _BLOCK = 64, 2**16
"""Larger files are hashed by this many evenly spaced blocks of this size (bytes), beside name and size."""

_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


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
    def open(cls, path: Path, *, trust_remote_code: bool = False) -> "Checkpoint":
        """Read ``path/config.json``.

        Raises:
            ModelError: there is no such folder, or no readable config.json in it.
        """
        if not path.is_dir():
            raise ModelError(f"{path}: no such checkpoint folder; --model takes a folder written by save_pretrained")
        try:
            config = orjson.loads((path / "config.json").read_bytes())
        except FileNotFoundError:
            raise ModelError(
                f"{path}: no config.json in it; --model takes a folder written by save_pretrained"
            ) from None
        except (OSError, ValueError) as error:
            raise ModelError(f"{path / 'config.json'}: cannot be read: {error}") from None
        if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
            raise ModelError(f"{path / 'config.json'}: no model_type in it; this is no transformers checkpoint")
        return cls(path.resolve(), config, trust_remote_code)

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
            written = orjson.loads(path.read_bytes())
            found = written[name] if required else written.get(name)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{path}: cannot be read: {one_line(error)}; compose the folder again") from None
        return None if found is None else str(found)

    @property
    def is_internvl(self) -> bool:
        """Whether it is an InternVL, as published or as transformers lays it out."""
        return self.model_type in (internvl.MODEL_TYPE, "internvl")

    def fingerprint(self) -> dict[str, str]:
        """File name -> SHA-256 of what it holds, for every file in the folder that can change a score.

        Files over 64 MiB are known by their size and 64 evenly spaced blocks of 64 KiB: two checkpoints of one
        training run have the same headers and sizes, but no block of their weights stays the same, and a copy of a
        checkpoint keeps its fingerprint.

        Raises:
            IncompleteError: a file that the index of its weights names is not there.
            ModelError: a file cannot be read.
        """
        require_shards(self.path)
        try:
            return {
                file.name: _digest(file)
                for file in sorted(self.path.iterdir())
                if file.is_file() and file.suffix in (".json", ".jinja", ".txt", ".model", ".py", *_WEIGHT_SUFFIXES)
            }
        except OSError as error:
            raise ModelError(f"{self.path}: cannot be read: {error}") from None

    def differing_files(self, other: "Checkpoint") -> list[str]:
        """Names of the files, weights apart, in which two checkpoints differ: what prompts are made by, and the model.

        Where there are none, ``other`` can take this one's place in a session. What config.json says of itself
        (its own path, the version that wrote it) may differ.

        Raises:
            ModelError: a file cannot be read.
        """
        names = ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
        found = [name for name in names if _content(self.path / name) != _content(other.path / name)]
        silent = ("_name_or_path", "transformers_version")
        mine, theirs = ({k: v for k, v in each.config.items() if k not in silent} for each in (self, other))
        return [*found, "config.json"] if mine != theirs else found

    def successor(self, path: Path) -> "Checkpoint":
        """The checkpoint at ``path``, if it can take this one's place in a session.

        Raises:
            ModelError: there is none, or it differs in more than its weights.
        """
        checkpoint = Checkpoint.open(path, trust_remote_code=self.trust_remote_code)
        if differing := self.differing_files(checkpoint):
            raise ModelError(
                f"{path}: its {', '.join(differing)} is not that of {self.path}; only checkpoints that "
                "differ in their weights alone can follow one another in one engine"
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


def _content(file: Path) -> str | None:
    """A digest of a small file; None where there is none. Raises ModelError."""
    try:
        return _digest(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error}") from None


def _digest(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= _WHOLE:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        digest = hashlib.sha256(json.dumps(size).encode())
        for block in range(_BLOCKS):
            stream.seek((size - _BLOCK) * block // (_BLOCKS - 1))
            digest.update(stream.read(_BLOCK))
        return digest.hexdigest()
