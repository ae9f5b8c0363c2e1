#!/bin/bash
# Score every checkpoint of a training run on every GPU of this machine, or of the Ray cluster that ADDRESS names.
#
#     CHECKPOINTS='/ckpt/step-*' DATA=/data/M3-Bench OUT=results bash examples/farm_ray.sh
set -euo pipefail

radar-fast farm ${ENGINE:+--engine "$ENGINE"} --model "$CHECKPOINTS" --data "$DATA" --out "$OUT" \
    --address "${ADDRESS:-auto}" ${ENGINES:+--engines "$ENGINES"}
