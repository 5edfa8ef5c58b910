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

# The verbs' option, and what a GPU would need.
. "$(dirname "$0")/tiny.sh"
mkdir base
cp config.json base
echo '{"ids": [1, 2, 3]}' >ids.jsonl
expect 2 "--backend takes auto, cpu or cuda, not \"gpu\"" score --model base --input ids.jsonl --backend gpu
expect 70 "backend: cuda" score --model base --input ids.jsonl --backend cuda
expect 70 "backend: cuda" bench train --backend cuda
expect 0 "no verdict: there is no GPU here" estimate config.json --backend cuda --bf16
expect 0 "bfloat16, routers and gates float32" estimate config.json --backend cuda --bf16 --memory 141
check "of a GPU" grep -q "memory of training on a GPU" out
expect 0 "float32" estimate config.json --backend cpu --bf16
expect 2 "does not fit" estimate config.json --backend cuda --memory 0.5
expect 0 "float32, with copies in bfloat16" estimate config.json --backend cuda --bf16 --memory 141 trainable=all
finish
