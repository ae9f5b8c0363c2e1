"""A few attempts of each class, always the same; ``make attack`` makes others for an hour."""

import random
import sys
import time
from pathlib import Path

import pytest
from attack_classes import ATTACKS
from attack_frame import Attack, MismatchError, attack, table
from attack_mutations import mutated_bytes, mutated_json

FIRST_SEED = 3000


@pytest.mark.full
def test_nothing_gets_through(capsys: pytest.CaptureFixture[str]) -> None:
    rows = attack(ATTACKS, None, FIRST_SEED)
    with capsys.disabled():
        sys.stdout.write(f"\n{table(rows)}\n")
    assert not [failure for row in rows for failure in row.failures]
    assert [row.attempts for row in rows] == [each.few for each in ATTACKS]
    assert all(row.peak_mib < 1024 for row in rows)


def test_the_frame_sees_what_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of failure once in four attempts, in a row of its own."""
    monkeypatch.setattr("attack_frame.CPU_SECONDS", 0.3)
    monkeypatch.setattr("attack_frame.WALL_SECONDS", 1.0)

    def failing(error: BaseException | None) -> Attack:
        def attempt(rng: object, path: Path) -> None:  # noqa: ARG001 - an attempt's
            if error is None:
                time.sleep(60)
            if isinstance(error, TimeoutError):
                while True:
                    pass
            assert error is not None
            raise error

        return Attack("of a kind", attempt, (ValueError,))

    kinds: dict[str, BaseException | None] = {
        "refused": ValueError("no"),
        "tracebacks": KeyError("no"),
        "mismatches": MismatchError("no"),
        "timeouts": None,
    }
    for kind, error in [*kinds.items(), ("timeouts", TimeoutError())]:
        [row] = attack([failing(error)], 0.0)
        assert (row.attempts, getattr(row, kind), row.failed) == (1, 1, int(kind != "refused"))
    [row] = attack([failing(ValueError("several\nlines"))], 0.0)
    assert row.tracebacks == 1
    [row] = attack([failing(SystemExit(3))], 0.0)
    assert row.tracebacks == 1


def test_a_seed_is_an_attack() -> None:
    for seed in range(50):
        once, again = (mutated_bytes(random.Random(seed), b'{"a": [1, 2]}') for _ in range(2))
        assert once == again
        first, second = (mutated_json(random.Random(seed), {"a": [1, {"b": "c"}]}) for _ in range(2))
        assert repr(first) == repr(second)
