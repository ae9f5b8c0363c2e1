#!/bin/bash
# Score the checkpoints of a training while it goes on, each once it is whole; ends with the step UNTIL.
#
#     ROOT=run/checkpoints DATA=/data/M3-Bench OUT=results UNTIL=20000 bash examples/watch.sh
#
# Ended or killed, the same command goes on: start it from whatever restarts your jobs.
set -euo pipefail

radar-fast watch "$ROOT" --data "$DATA" --out "$OUT" --until "$UNTIL" \
    ${ENGINE:+--engine "$ENGINE"} ${EVERY:+--every "$EVERY"}
