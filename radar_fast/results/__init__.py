"""What becomes of scores: the result folder, its journal, the numbers, and what is made of them."""

from importlib import resources
from typing import Any

import orjson

from radar_fast.errors import UsageError
from radar_fast.util.choices import did_you_mean

__all__ = ["SCHEMAS", "schema"]

SCHEMAS = ("run", "samples", "summary", "growth")
"""The files that have a schema: ``run.json``, a line of ``samples.jsonl``, ``summary.json``, and what ``radar-fast
growth --json`` writes."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a file: one of :data:`SCHEMAS`.

    Raises:
        UsageError: another name.
    """
    if name not in SCHEMAS:
        raise UsageError(f"schema {name!r}: unknown{did_you_mean(name, SCHEMAS)}; it is one of {', '.join(SCHEMAS)}")
    file = resources.files(__name__).joinpath("schemas", f"{name}.schema.json")
    document: dict[str, Any] = orjson.loads(file.read_bytes())
    return document
