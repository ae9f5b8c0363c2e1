"""What transformers raises while it loads from a checkpoint, as one clear :class:`ModelError`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radar_fast.errors import ModelError, one_line

__all__ = ["explained"]


@contextmanager
def explained(path: Path, model_type: str, architecture: str, part: str) -> Iterator[None]:
    """A context in which errors name the checkpoint at ``path`` and say what to do.

    Args:
        path: the checkpoint's folder.
        model_type: as in its config.json.
        architecture: as in its config.json.
        part: what is being loaded, for the message.

    Raises:
        ModelError: in place of whatever is raised within.
    """
    try:
        yield
    except ModelError:
        raise
    except ImportError as error:
        text = one_line(error)
        if "torchvision" in text:
            text += "; if it is of another build than torch, uninstall it (radar-fast does not need it)"
        raise ModelError(
            f"{path}: the {part} cannot be loaded: a package is missing or does not load: {text}", path=path
        ) from error
    except Exception as error:
        text = " ".join(str(error).split())
        if "trust_remote_code" in text:
            raise ModelError(
                f"{path}: {architecture} needs Python code that lies in the checkpoint; it is not run unless you ask "
                "for it: add --trust-remote-code if you trust the folder",
                path=path,
            ) from None
        if "does not recognize this architecture" in text or "Unrecognized configuration class" in text:
            raise ModelError(
                f"{path / 'config.json'}: model_type {model_type!r} ({architecture}) is not supported: transformers "
                "has no image-text-to-text model of it"
            ) from None
        raise ModelError(f"{path}: the {part} cannot be loaded: {one_line(error)}", path=path) from error
