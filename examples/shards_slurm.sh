#!/bin/bash
#SBATCH --array=0-7
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --time=1:00:00
#SBATCH --requeue
# Score a checkpoint as a Slurm array, a shard and a GPU for each task. The last lines of it are a second job:
#
#     export MODEL=/ckpt/step-20000 DATA=/data/M3-Bench OUT=/shared/results
#     job=$(sbatch --parsable examples/shards_slurm.sh)
#     sbatch --dependency=afterany:$job --wrap 'radar-fast merge "$OUT"'
#
# A task that failed alone: sbatch --array=3 --export=ALL,SHARDS=8 examples/shards_slurm.sh. Which shard it is comes from
# SLURM_ARRAY_TASK_ID, and of how many from SLURM_ARRAY_TASK_COUNT, or from SHARDS where that is given.
set -uo pipefail

radar-fast score --model "$MODEL" --data "$DATA" --out "$OUT" --shard "auto${SHARDS:+/$SHARDS}" \
    ${ENGINE:+--engine "$ENGINE"}
status=$?
((status == 75)) && scontrol requeue "$SLURM_JOB_ID" # the folder is in use, or the checkpoint is not complete yet
exit "$status"
