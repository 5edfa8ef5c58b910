#!/bin/sh
# Peak memory of loading 3.2 GB of bf16 (6.5 GB of parameters), in the published and in the fused layout of experts.
# Writes the model to $TMPDIR (default /tmp) first and removes it. Prints the numbers of docs/performance.md.
#
#   scripts/experiments/load_memory.sh [path of model.load_memory]
set -eu
cd "$(dirname "$0")/../.."
exec "${1:-build/cpu/tests/model/model.load_memory}" large
