#!/bin/sh
# backend: cuda where there is no GPU: refused before anything is read, with what is missing.
set -eu
. "$(dirname "$0")/expect.sh"

if "$beam" doctor | grep -q '^gpu '; then
    echo "skipped: this machine has a GPU"
    exit 77
fi
cat >"$folder/run.yaml" <<YAML
model_name_or_path: $folder/none
dataset: $folder/none.h5
output_dir: $folder/out_dir
backend: cuda
YAML
expect 70 "backend: cuda" train "$folder/run.yaml"
expect 70 "use backend: cpu" train "$folder/run.yaml"
expect 0 '"gpus": []' doctor --json
finish
