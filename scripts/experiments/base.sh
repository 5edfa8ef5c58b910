#!/bin/bash
# Trains the base model of the experiments (about two hours on two free cores; goes on where it was stopped) and
# exports it to runs/books-moe.
table=base
model=runs/books-moe
. "$(dirname "$0")/common.sh"
"$beam" train configs/books-moe-base.yaml
[ -f "$model/config.json" ] || "$beam" export --run runs/books-moe-base --out "$model" --dtype bfloat16
"$beam" eval --model "$model" --data "$out/test.h5" --rows 256
