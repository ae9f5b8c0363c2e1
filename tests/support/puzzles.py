"""PuzzleVQA's published records: ten that lie in tests/data, and two hundred where they lie beside the checkout."""

from pathlib import Path

import pytest

__all__ = ["PUZZLES", "SLICE"]

ROOT = Path(__file__).resolve().parents[2]
SLICE = ROOT / "tests" / "data" / "puzzlevqa"
WHOLE = ROOT.parent / "shared" / "data" / "puzzlevqa"

PUZZLES = [pytest.param(SLICE, id="slice")]
"""Folders to parametrise a test with: the slice, and in the full run also the larger one if it is there."""
if WHOLE.is_dir():
    PUZZLES.append(pytest.param(WHOLE, id="whole", marks=pytest.mark.full))
