#!/bin/sh
# The shipped model and text: the model knows English, and after a few steps of training about half of its experts run
# while it keeps 98 % of its accuracy, on text that no training saw.
set -eu
. "$(dirname "$0")/expect.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$folder"

# value FILE KEY: a number of an evaluation.
value() {
    sed -n "s/.*\"$2\":\([^],}]*\).*/\1/p" "$1"
}

"$beam" preprocess "$root/examples/books/test.jsonl.zst" --out test.h5 >/dev/null
"$beam" preprocess "$root/examples/books/valid.jsonl.zst" --out train.h5 >/dev/null
"$beam" eval --model "$root/examples/tiny-moe" --data test.h5 --rows 32 --json >base.json
check "the base model knows English" awk -v x="$(value base.json loss)" 'BEGIN { exit !(x < 1.3) }'

"$beam" train "$root/configs/tiny-moe-masks.yaml" "model_name_or_path=$root/examples/tiny-moe" dataset=train.h5 \
    eval_dataset=null output_dir=run max_steps=50 warmup_steps=5 learning_rate=5e-3 mask.penalty_warmup_steps=15 save_steps=0 2>log
"$beam" export --run run --out masked >/dev/null
"$beam" eval --model masked --data test.h5 --rows 32 --json >masked.json
active=$(value masked.json avg_active)
check "about half of the 8 experts run ($active)" awk -v x="$active" 'BEGIN { exit !(x > 2 && x < 5) }'
check "98 % of the accuracy is kept ($(value masked.json accuracy) of $(value base.json accuracy))" \
    awk -v x="$(value masked.json accuracy)" -v y="$(value base.json accuracy)" 'BEGIN { exit !(x >= 0.98 * y) }'
"$beam" eval --model masked --data test.h5 --rows 32 --masks off --json >off.json
check "with the masks off it is the base model" test "$(value off.json loss)" = "$(value base.json loss)"
finish
