"""The vLLM engines that the modules of this room share."""

from collections.abc import Iterator

import pytest
from vllm_engines import Engines


@pytest.fixture(scope="session")
def engines() -> Iterator[Engines]:
    """Where an engine is asked for; tests that do so all run in one process, as tests/conftest.py has it."""
    made = Engines()
    yield made
    made.close()
