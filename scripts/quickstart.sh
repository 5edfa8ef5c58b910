#!/bin/bash
# The main job from nothing, on the model and the text that come with the project: evaluate the base model, fine-tune
# its mask gates for two targets (one run is stopped and resumed), export, evaluate what was exported beside plain
# top-k pruning, and write a report. Works in runs/quickstart; about three minutes on two cores after installation.
set -eu
cd "$(dirname "$0")/.."
out=runs/quickstart
# Threads that wait without spinning: no slower here, and far faster when other programs use the cores too.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

step() {
    printf '\n== %s\n' "$1"
}

step "packages"
./scripts/install_deps.sh
installed=$SECONDS

step "build"
mkdir -p build "$out"
cmake --preset cpu -B build/quickstart -D BEAM_TESTS=OFF >build/quickstart.log 2>&1 ||
    { cat build/quickstart.log; exit 1; }
cmake --build build/quickstart -j "$(nproc)" >>build/quickstart.log 2>&1 ||
    { tail -n 40 build/quickstart.log; exit 1; }
beam=build/quickstart/cli/beam

step "text to tokens"
for part in train valid test; do
    [ -f "$out/$part.h5" ] || $beam preprocess "examples/books/$part.jsonl.zst" --out "$out/$part.h5"
done

# evaluate NAME OPTION...: the held-out book; the result stays in NAME.json.
evaluate() {
    name=$1
    shift
    $beam eval --data "$out/test.h5" --rows 128 --json "$@" >"$out/$name.json"
}

step "base model"
evaluate base --model examples/tiny-moe

for target in 3.5 2.5; do
    step "masks, target $target of 8 experts"
    run=$out/masks-$target
    keys="output_dir=$run dataset=$out/train.h5 eval_dataset=$out/valid.h5 eval_rows=128 mask.target_active=$target"
    if [ "$target" = 3.5 ] && [ ! -d "$run" ]; then
        code=0 # stopped halfway with a checkpoint, as by a signal; the same command then goes on
        # shellcheck disable=SC2086
        $beam train configs/tiny-moe-masks.yaml $keys --stop-after 70 || code=$?
        [ $code -eq 7 ]
    fi
    # shellcheck disable=SC2086
    $beam train configs/tiny-moe-masks.yaml $keys
    rm -rf "$run-export"
    $beam export --run "$run" --out "$run-export"
    evaluate "masks-$target" --model "$run-export"
done

step "plain top-k pruning"
for k in 4 3; do
    evaluate "top-$k" --model examples/tiny-moe --top-k "$k"
    evaluate "top-$k-renormalised" --model examples/tiny-moe --top-k "$k" --renormalize
done

step "result, on a book that no training saw"
$beam report "$out/masks-3.5" "$out/masks-2.5" --out "$out/report.html" \
    "base=$out/base.json" "masks, target 3.5=$out/masks-3.5.json" "masks, target 2.5=$out/masks-2.5.json" \
    "top-4=$out/top-4.json" "top-4, renormalised=$out/top-4-renormalised.json" \
    "top-3=$out/top-3.json" "top-3, renormalised=$out/top-3-renormalised.json"
printf '\nmasked model: %s\nreport:       %s\ntime:         %d s after installing packages\n' \
    "$out/masks-3.5-export" "$out/report.html" "$((SECONDS - installed))"
