# What the experiments share; sourced by them with the table's name in $table, and in $model the base model if it is not
# the shipped one. Results that are there are not made
# again, so a script that was stopped goes on.
#
# $eval_options: more options for every evaluation.
#
#   BEAM   the program            (build/cpu/cli/beam)
#   SEEDS  seeds of trained rows  (1 2 3)
#   KEYS   more keys for every run, e.g. "max_steps=20" to try a script out
set -eu
cd "$(dirname "$0")/../.."
beam=${BEAM:-build/cpu/cli/beam}
seeds=${SEEDS:-1 2 3}
out=runs/experiments
model=${model:-examples/tiny-moe}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
mkdir -p "$out/$table"

for part in train valid test; do
    [ -f "$out/$part.h5" ] || "$beam" preprocess "examples/books/$part.jsonl.zst" --out "$out/$part.h5"
done
[ -f "$out/peps.h5" ] || "$beam" preprocess examples/peps/test.jsonl.zst --out "$out/peps.h5"
[ "$table" = base ] || [ -f "$model/config.json" ] || {
    echo "$model is missing: scripts/experiments/base.sh trains it (hours)" >&2
    exit 1
}

# evaluate FOLDER OPTION...: both texts, 131,072 tokens of each at most, as FOLDER/{books,peps}.json.
evaluate() {
    folder=$1
    shift
    for text in books peps; do
        data=$out/peps.h5
        [ $text = peps ] || data=$out/test.h5
        [ -s "$folder/$text.json" ] && continue
        mkdir -p "$folder"
        # shellcheck disable=SC2086 # a list
        "$beam" eval --data "$data" --rows 256 --json ${eval_options:-} "$@" >"$folder/$text.part"
        mv "$folder/$text.part" "$folder/$text.json"
    done
}

# rule SERIES POINT OPTION...: the base model under a rule that needs no training.
rule() {
    folder=$out/$table/$1/$2/seed-0
    shift 2
    evaluate "$folder" --model "$model" "$@"
}

# trained SERIES POINT KEY...: a run of every seed, and its evaluation. The checkpoints go once they were measured.
trained() {
    series=$1 point=$2
    shift 2
    for seed in $seeds; do
        folder=$out/$table/$series/$point/seed-$seed
        if [ ! -s "$folder/peps.json" ]; then
            # shellcheck disable=SC2086 # KEYS is a list
            "$beam" train configs/experiments.yaml "model_name_or_path=$model" "output_dir=$folder/run" "seed=$seed" "$@" ${KEYS:-}
            evaluate "$folder" --run "$folder/run"
            rm -r "$folder/run"/checkpoint-*
        fi
    done
}

# write TITLE: docs/results/$table.md and .json from what is there.
write() {
    python3 scripts/experiments/table.py "$out/$table" --title "$1" --out "docs/results/$table"
}
