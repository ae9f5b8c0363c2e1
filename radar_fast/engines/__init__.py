"""The table of engines, and how one is chosen and opened. An engine is a file and a row here.

Engines are imported when they are opened, so that reading and counting need neither torch nor vLLM.
"""

from radar_fast.engines.base import WINDOW, Engine, EngineReport, EngineSpec
from radar_fast.engines.encode.context import EngineContext
from radar_fast.engines.fake import SPEC as FAKE
from radar_fast.engines.http.spec import SPEC as HTTP
from radar_fast.engines.options import EngineOptions
from radar_fast.engines.transformers.spec import SPEC as TRANSFORMERS
from radar_fast.engines.vllm.spec import SPEC as VLLM
from radar_fast.errors import UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol
from radar_fast.util.choices import check_choice
from radar_fast.util.plugins import found

__all__ = [
    "ENGINES",
    "WINDOW",
    "Engine",
    "EngineContext",
    "EngineOptions",
    "EngineReport",
    "EngineSpec",
    "check_engine",
    "choose_engine",
    "open_engine",
]

ENGINES: dict[str, EngineSpec] = {
    **{spec.name: spec for spec in found("radar_fast.engines", EngineSpec).values()},
    **{spec.name: spec for spec in (VLLM, TRANSFORMERS, HTTP, FAKE)},
}
"""By name, in the order in which ``auto`` tries them: those of other packages first, of which none replaces ours."""


def check_engine(name: str) -> None:
    """Raise UsageError unless ``name`` is ``auto`` or in the table."""
    check_choice("engine", name, ENGINES)


def choose_engine(name: str, options: EngineOptions) -> tuple[EngineSpec, str]:
    """The engine called ``name``; for ``auto`` the first of the table that is available here, and why it is that one.

    Raises:
        UsageError: an unknown name, or an option that only other engines take.
    """
    check_engine(name)
    why = ""
    if name == "auto":
        spec, why = _first_available(options)
    else:
        spec = ENGINES[name]
    for option in options.changed():
        takers = [other.name for other in ENGINES.values() if option in other.takes]
        if takers and spec.name not in takers:
            because = f", because {why}" if why else ""
            raise UsageError(
                f"{options.flag(option)}: only --engine {' and '.join(takers)} takes it, and this is "
                f"--engine {spec.name}{because}"
            )
    return spec, why


def _first_available(options: EngineOptions) -> tuple[EngineSpec, str]:
    passed_over = ""
    for spec in ENGINES.values():
        available, why = spec.available(options)
        if available:
            return spec, why or passed_over
        passed_over = passed_over or why
    raise UsageError("--engine auto: no engine can run here; name one")


def open_engine(
    name: str,
    checkpoint: Checkpoint | None,
    protocol: Protocol,
    options: EngineOptions,
    context: EngineContext | None = None,
) -> Engine:
    """Load the engine called ``name``; for ``auto`` see :func:`choose_engine`.

    Raises:
        UsageError: an unknown name or option.
        ModelError: the checkpoint cannot be loaded by it.
    """
    spec, _ = choose_engine(name, options)
    if spec.needs_checkpoint and checkpoint is None:
        raise UsageError(f"--engine {name}: needs --model")
    return spec.open(checkpoint, protocol, spec.resolve(checkpoint, options), context or EngineContext())
