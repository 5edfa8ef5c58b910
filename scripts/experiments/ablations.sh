#!/bin/bash
# The paper's choices: penalty, its norm, hard or soft masks, threshold, initialisation. Its gate unless said.
table=ablations
. "$(dirname "$0")/common.sh"
paper="mask.target_active=null mask.init=zero mask.router_features=false mask.penalty_warmup_steps=0"

rule base 8
# shellcheck disable=SC2086 # lists of keys
{
    for penalty in 0.1 0.3 0.9; do
        trained "penalty, l1" $penalty $paper mask.penalty=$penalty
    done
    for penalty in 0.3 0.9; do
        trained "penalty, l2" $penalty $paper mask.penalty=$penalty mask.penalty_norm=l2
        trained "soft masks" $penalty $paper mask.penalty=$penalty mask.form=soft
        trained "soft masks, annealed" $penalty $paper mask.penalty=$penalty mask.form=soft mask.temperature_end=0.03
    done
    for threshold in 0.3 0.7; do
        trained threshold $threshold $paper mask.penalty=0.3 mask.threshold=$threshold
    done
    for rate in 1e-4 1e-3 2e-2; do # 5e-3: the penalty's rows
        trained "zero start, rate" $rate $paper mask.penalty=0.3 learning_rate=$rate
    done
    for rate in 1e-4 1e-3 5e-3 2e-2; do
        trained "open start, rate" $rate mask.target_active=null mask.penalty=0.3 learning_rate=$rate
    done
}
write "The paper's choices, one by one"
