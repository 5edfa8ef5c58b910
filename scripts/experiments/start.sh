#!/bin/bash
# The first steps after each start: where the paper's gate, whose logits begin at the threshold, falls, and what holds.
table=start
. "$(dirname "$0")/common.sh"
paper="mask.init=zero mask.router_features=false mask.penalty_warmup_steps=0"

# first_steps SERIES POINT KEY...: 40 steps of every seed, each of them logged. No warm-up of the rate.
first_steps() {
    series=$1 point=$2
    shift 2
    for seed in $seeds; do
        folder=$out/$table/$series/$point/seed-$seed
        [ -s "$folder/metrics.jsonl" ] && continue
        # shellcheck disable=SC2086 # KEYS is a list
        "$beam" train configs/experiments.yaml "model_name_or_path=$model" "output_dir=$folder/run" "seed=$seed" max_steps=40 \
            logging_steps=1 warmup_steps=0 lr_scheduler_type=constant mask.target_active=null mask.penalty=0.3 "$@" ${KEYS:-}
        mv "$folder/run/metrics.jsonl" "$folder/"
        rm -r "$folder/run"
    done
}

for rate in 1e-5 1e-4 1e-3 5e-3; do
    # shellcheck disable=SC2086 # a list of keys
    first_steps "paper's gate, zero start" $rate $paper learning_rate=$rate
done
first_steps "paper's gate, open start" 5e-3 mask.router_features=false
first_steps "router-aware, zero start" 5e-3 mask.init=zero
first_steps "router-aware, open start" 5e-3

python3 scripts/experiments/start_table.py "$out/$table" --out "docs/results/$table"
