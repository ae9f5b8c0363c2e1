#!/bin/bash
# Score a checkpoint on all GPUs of one machine, a shard and a process on each, and put the shards together.
#
#     MODEL=/ckpt/step-20000 DATA=/data/M3-Bench OUT=results GPUS=8 bash examples/shards_node.sh
#
# No Ray is needed. Given again after an interruption, it goes on; a shard that is done answers at once.
set -uo pipefail

pids=()
for ((gpu = 0; gpu < GPUS; gpu++)); do
    CUDA_VISIBLE_DEVICES=$gpu radar-fast score --model "$MODEL" --data "$DATA" --out "$OUT" \
        --shard "$gpu/$GPUS" ${ENGINE:+--engine "$ENGINE"} > "${LOGS:-.}/shard-$gpu.log" 2>&1 &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || (($? == 1)) || failed=1 # 1: done, but some samples could not be scored
done
[[ -z ${failed:-} ]] || { echo "a shard was not scored: see its log; the same command goes on" >&2; exit 1; }
radar-fast merge "$OUT"
