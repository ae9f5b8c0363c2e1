"""A checkpoint folder on disk: what it says of itself, a fingerprint of its files, and its processor.

Nothing here loads weights. transformers is imported only when the processor is asked for.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from radar_fast.errors import ModelError, one_line
from radar_fast.models import internvl

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
        path = self.path / COMPOSED
        try:
            named = orjson.loads(path.read_bytes())["protocol"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path}: cannot be read: {one_line(error)}; compose the folder again") from None
        return str(named)

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
            ModelError: a file cannot be read.
        """
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

        Where there are none, ``other`` can take this one's place in a live engine. What config.json says of itself
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
        """The checkpoint at ``path``, if it can take this one's place in a live engine.

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
        kwargs = {"local_files_only": True, "trust_remote_code": self.trust_remote_code}
        with self.explained("processor"):
            import transformers
            from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

            if self.model_type == internvl.MODEL_TYPE:
                return self._internvl_processor()
            config = transformers.AutoConfig.from_pretrained(self.path, **kwargs)
            if type(config) not in PROCESSOR_MAPPING:
                raise ModelError(
                    f"{self.path / 'config.json'}: model_type {self.model_type!r} ({self.architecture}) has no "
                    "processor for images and text in transformers; pick an image-text-to-text checkpoint"
                )
            return _without_video(PROCESSOR_MAPPING[type(config)]).from_pretrained(self.path, backend="pil", **kwargs)

    def _internvl_processor(self) -> Any:
        """transformers' InternVL processor around the tokenizer of a published folder, which has no processor."""
        import transformers
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

        config = internvl.make_config(self.config, self.path)
        # With the configuration in hand, the tokenizer's loader does not ask for the folder's own code.
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            self.path, config=config, local_files_only=True, trust_remote_code=False
        )
        internvl.make_tokens_known(tokenizer, self.path)
        images = GotOcr2ImageProcessorPil(**internvl.image_settings(self.config))
        return _without_video(transformers.InternVLProcessor)(
            images, tokenizer, image_seq_length=config.image_seq_length
        )

    def explained(self, part: str) -> "_Explained":
        """A context in which what transformers raises while it loads ``part`` becomes one clear ModelError."""
        return _Explained(self, part)


class _Explained:
    def __init__(self, checkpoint: Checkpoint, part: str) -> None:
        self._checkpoint, self._part = checkpoint, part

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, ModelError):
            return
        path, text = self._checkpoint.path, " ".join(str(error).split())
        if isinstance(error, ImportError):
            raise ModelError(
                f"transformers cannot be imported: {one_line(error)}; if a torchvision of another build than torch is "
                "installed, uninstall it (radar-fast does not need it)"
            ) from error
        if "trust_remote_code" in text or "trust_remote_code=True" in text:
            raise ModelError(
                f"{path}: {self._checkpoint.architecture} needs Python code that lies in the checkpoint; it is not run "
                "unless you ask for it: add --trust-remote-code if you trust the folder"
            ) from None
        if "does not recognize this architecture" in text or "Unrecognized configuration class" in text:
            raise ModelError(
                f"{path / 'config.json'}: model_type {self._checkpoint.model_type!r} ({self._checkpoint.architecture}) "
                "is not supported: transformers has no image-text-to-text model of it"
            ) from None
        raise ModelError(f"{path}: the {self._part} cannot be loaded: {one_line(error)}") from error


def _content(file: Path) -> str | None:
    """A digest of a small file; None where there is none. Raises ModelError."""
    try:
        return _digest(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error}") from None


def _without_video(processor_class: Any) -> Any:
    """The processor class less its video processor, which needs torchvision even to be constructed."""

    class ImagesOnly(processor_class):  # type: ignore[misc] # a base that is known at run time only
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if name != "video_processor"]

    ImagesOnly.__name__ = processor_class.__name__
    return ImagesOnly


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
