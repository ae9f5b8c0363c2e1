"""``python -m radar_fast.harness --model radar-fast ...``: lm_eval's command line, which knows our model."""

import sys

from lm_eval.__main__ import cli_evaluate

import radar_fast.harness  # noqa: F401 - makes it known

if __name__ == "__main__":
    sys.argv[0] = "lm_eval"
    cli_evaluate()
