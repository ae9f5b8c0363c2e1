"""Found first on PYTHONPATH, it makes the fake engine die of the sample that RADAR_TEST_DEADLY names.

Python imports one module of this name; the shim for torchvision, which has it too, is imported from here.
"""

import os
import runpy
import signal
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "sitecustomize.py"))

if "RADAR_TEST_DEADLY" in os.environ:
    from radar_fast.engines import fake
    from radar_fast.sample import Prompt, Scored

    harmless = fake._score

    def deadly(prompt: Prompt) -> Scored:
        if prompt.sample.id == os.environ["RADAR_TEST_DEADLY"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return harmless(prompt)

    fake._score = deadly
