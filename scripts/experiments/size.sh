#!/bin/bash
# What W_m adds to the router-aware terms on the larger model; on the shipped one the extensions' table tells.
table=size
model=runs/books-moe
. "$(dirname "$0")/common.sh"

rule base 8
for target in 3 1.5; do
    trained masks $target mask.target_active=$target
    trained "router terms alone" $target mask.target_active=$target mask.token_features=false
done
write "What W_m adds on the larger model"
