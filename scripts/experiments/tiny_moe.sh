#!/bin/bash
# Quality against Avg-K on the shipped model: masks at several targets, the paper's gate at several penalties, and plain
# top-k pruning. Writes runs/tiny-moe/ and prints the table of docs/results.md. About 12 minutes on two cores.
#
#   scripts/experiments/tiny_moe.sh [path of beam]
set -eu
cd "$(dirname "$0")/../.."
beam=${1:-build/quickstart/cli/beam}
out=runs/tiny-moe
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
mkdir -p "$out"
for part in train valid test; do
    [ -f "$out/$part.h5" ] || $beam preprocess "examples/books/$part.jsonl.zst" --out "$out/$part.h5"
done
results=()

# evaluate NAME LABEL OPTION...: 131,072 tokens of the held-out book.
evaluate() {
    name=$1 label=$2
    shift 2
    [ -s "$out/$name.json" ] || $beam eval --data "$out/test.h5" --rows 256 --json "$@" >"$out/$name.tmp"
    [ -s "$out/$name.json" ] || mv "$out/$name.tmp" "$out/$name.json"
    results+=("$label=$out/$name.json")
}

# fine_tune NAME LABEL CONFIG KEY...: one run and its evaluation.
fine_tune() {
    name=$1 label=$2 config=$3
    shift 3
    $beam train "$config" "output_dir=$out/$name" "dataset=$out/train.h5" "eval_dataset=null" "$@"
    evaluate "$name" "$label" --run "$out/$name"
}

evaluate base base --model examples/tiny-moe
for target in 5 4 3 2 1; do
    fine_tune "masks-$target" "masks, target $target" configs/tiny-moe-masks.yaml "mask.target_active=$target"
done
for penalty in 0.3 0.9; do
    fine_tune "paper-$penalty" "paper's gate, beta $penalty" configs/tiny-moe-paper.yaml "mask.penalty=$penalty"
done
for k in 5 4 3 2 1; do
    evaluate "top-$k" "top-$k" --model examples/tiny-moe --top-k "$k"
    evaluate "top-$k-renormalised" "top-$k, renormalised" --model examples/tiny-moe --top-k "$k" --renormalize
done
$beam report "${results[@]}" --out "$out/report.html"
