#!/bin/bash
# Distinct experts per batch of 1 to 256 tokens, with and without the batch-union penalty.
table=distinct
eval_options="--batch-rows 256"
. "$(dirname "$0")/common.sh"

rule base 8
for k in 4 3 2; do
    rule top-k $k --top-k $k
done
for target in 3 2; do
    for weight in 0 1 3; do
        trained "target $target" "union $weight" mask.target_active=$target mask.union_penalty=$weight mask.union_batch=8
    done
done
write "Distinct experts per batch"
