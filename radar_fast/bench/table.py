"""The table of contenders: our engines, and what they are compared with. A peer is a class and a row here.

Nothing heavy is imported before a contender is opened, which its own process does.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from radar_fast.engines import ENGINES, EngineOptions

if TYPE_CHECKING:
    from radar_fast.bench.contender import Contender, Setup

__all__ = ["PEERS", "PeerSpec", "check_contender", "open_contender", "options_for", "takes"]


@dataclass(frozen=True, kw_only=True)
class PeerSpec:
    """A row of the table of peers."""

    name: str
    """As on the command line."""
    open: "Callable[[Setup], Contender]"
    """Load it."""
    takes: frozenset[str] = frozenset()
    """As of an engine: options that not everyone takes."""
    check: Callable[[str], None] = lambda _: None
    """See, from the device, that it can run here; imports no library of the peer's. Raises UsageError."""


def _published(setup: "Setup") -> "Contender":
    from radar_fast.bench.peers import Published

    return Published(setup)


def _per_candidate(setup: "Setup") -> "Contender":
    from radar_fast.bench.peers import PerCandidate

    return PerCandidate(setup)


def _prompt_logprobs(setup: "Setup") -> "Contender":
    from radar_fast.bench.vllm_peers import PromptLogprobs

    return PromptLogprobs(setup)


def _token_ids(setup: "Setup") -> "Contender":
    from radar_fast.bench.vllm_peers import TokenIds

    return TokenIds(setup)


def _letters(setup: "Setup") -> "Contender":
    from radar_fast.bench.vllm_peers import Letters

    return Letters(setup)


def _sglang(setup: "Setup") -> "Contender":
    from radar_fast.bench.sglang_peer import SGLang

    return SGLang(setup)


def _check_vllm(_: str) -> None:
    from radar_fast.engines.vllm.compat import check_version

    check_version()


def _check_token_ids(device: str) -> None:
    from radar_fast.bench.vllm_peers import check_token_ids

    check_token_ids(device)


def _check_letters(device: str) -> None:
    from radar_fast.bench.vllm_peers import check_letters

    check_letters(device)


_VLLM = frozenset({"arguments"})
PEERS: dict[str, PeerSpec] = {
    spec.name: spec
    for spec in (
        PeerSpec(name="published", open=_published),
        PeerSpec(name="per-candidate", open=_per_candidate),
        PeerSpec(name="vllm-prompt-logprobs", open=_prompt_logprobs, takes=_VLLM, check=_check_vllm),
        PeerSpec(name="vllm-token-ids", open=_token_ids, takes=_VLLM, check=_check_token_ids),
        PeerSpec(name="vllm-letters", open=_letters, takes=_VLLM, check=_check_letters),
        PeerSpec(name="sglang", open=_sglang),
    )
}


def takes(name: str) -> frozenset[str]:
    """Options that this contender takes and not everyone does."""
    return PEERS[name].takes if name in PEERS else ENGINES[name].takes


def options_for(name: str, options: EngineOptions) -> EngineOptions:
    """The options as this contender gets them: those that only others take have their defaults."""
    shared = {option for spec in ENGINES.values() for option in spec.takes}
    defaults = EngineOptions()
    return replace(options, **{option: getattr(defaults, option) for option in shared - takes(name)})


def check_contender(name: str, device: str) -> None:
    """See that it can run here, before anything is loaded.

    Raises:
        UsageError: it cannot.
    """
    if name in PEERS:
        PEERS[name].check(device)
    elif "arguments" in takes(name):
        _check_vllm(device)


def open_contender(setup: "Setup") -> "Contender":
    """Load the engine or peer called ``setup.name``.

    Raises:
        RadarError: it cannot be loaded.
    """
    if setup.name in PEERS:
        return PEERS[setup.name].open(setup)
    from radar_fast.bench.contender import EngineContender

    return EngineContender(setup)
