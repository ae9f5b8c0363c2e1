#!/bin/bash
# Score every checkpoint of a training run as a Slurm array, a task and a GPU for each: submit it with `bash`.
#
#     CHECKPOINTS='/ckpt/step-*' DATA=/data/M3-Bench OUT=/shared/results bash examples/farm_slurm.sh
#
# SUBMIT=cat prints what would be submitted.
set -euo pipefail

radar-fast farm ${ENGINE:+--engine "$ENGINE"} --model "$CHECKPOINTS" --data "$DATA" --out "$OUT" \
    --slurm "${SLURM_OPTIONS:---gpus 1 --cpus-per-task 8 --time 1:00:00}" | ${SUBMIT:-bash}
