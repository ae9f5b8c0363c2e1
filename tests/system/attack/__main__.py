"""``python tests/system/attack --seconds 3600``: attack, and say what became of it. Exit status 1 for any failure."""

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from attack_classes import ATTACKS
from attack_frame import Row, attack, table


def _tell(row: Row) -> None:
    sys.stderr.write("\n".join([f"{row.name}: {row.attempts} attempts, {row.failed} failures", *row.failures]) + "\n")


def main() -> None:
    """Parse, attack, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, help="of the first attempt; by default another one each time")
    parser.add_argument("--only", metavar="WORD", default="", help="classes whose name holds this")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(2**31) if given.seed is None else given.seed
    rows = attack([each for each in ATTACKS if given.only in each.name], given.seconds, seed, _tell)
    failures = [failure for row in rows for failure in row.failures]
    sys.stdout.write("\n".join([f"first seed {seed}\n", table(rows), *failures]) + "\n")
    sys.exit(any(row.failed for row in rows))


if __name__ == "__main__":
    main()
