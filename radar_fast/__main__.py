"""``python -m radar_fast`` is ``radar-fast``."""

from radar_fast.cli import main

# As in a script: a process that multiprocessing spawns imports the main program again, but none that is named
# ``__main__``. Only what has imported radar-fast knows from the start that it is to end with this process.
__spec__ = None

if __name__ == "__main__":
    main(prog_name="radar-fast")
