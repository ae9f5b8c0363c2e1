"""``python -m radar_fast`` is ``radar-fast``."""

from radar_fast.cli import main

main(prog_name="radar-fast")
