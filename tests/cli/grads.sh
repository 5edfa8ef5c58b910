#!/bin/sh
# beam grads: the loss is the one that beam score implies, the file has every gradient, wrong requests are refused.
set -eu
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"
make_models
"$beam" export --run masks-run --out masked >/dev/null

printf '{"ids":[1,2,3,4,5,6]}\n{"ids":[70,80,90],"loss":[1,0,1]}\n' >batch.jsonl
"$beam" score --model masked --input batch.jsonl >scores
mean=$(sed 's/.*"logprobs":\[//; s/\].*//' scores | awk -F, '
    NR == 1 { for (i = 1; i <= NF; i++) s -= $i } NR == 2 { s -= $2 } END { printf "%.7f", s / 6 }')
expect 0 "\"targets\":6,\"tokens\":9," grads --model masked --input batch.jsonl --out g.safetensors --penalty 0.5 --balance 0.1 --json
check "task_loss is $mean" awk "BEGIN { d = $(field task_loss) - $mean; exit !(d < 2e-6 && d > -2e-6) }"
check "the loss adds up" awk "BEGIN { d = $(field loss) - $(field task_loss) - 0.5 * $(field mask_loss) - 0.1 * $(field balance_loss)
    exit !(d < 1e-9 && d > -1e-9) }"
hard=$(field loss)
expect 0 "verified" inspect g.safetensors --verify --tensors
for name in loss task_loss mask_loss balance_loss avg_active; do
    check "the scalar $name" grep -q "f32  \[1\] $name\$" out
done
check "a gradient per tensor of the model" test "$("$beam" inspect masked --tensors | grep -c '^  f32')" -eq "$(($(grep -c '^  f32' out) - 5))"
expect 0 "8 gradients in m.safetensors" grads --model masked --input batch.jsonl --out m.safetensors --trainable masks
expect 0 "\"loss\":" grads --model masked --input batch.jsonl --out s.safetensors --penalty 0.5 --balance 0.1 --soft --json
check "soft masks give another loss" test "$hard" != "$(field loss)"
expect 0 "active        2 of 2" grads --model masked --input batch.jsonl --out o.safetensors --masks off
expect 0 "(8 of mask gates)" inspect g.safetensors
expect 0 "dtypes" inspect o.safetensors
check "no gates where they do not decide" test "$(grep -c "mask gates" out)" -eq 0
cp g.safetensors again.safetensors
expect 0 "loss" grads --model masked --input batch.jsonl --out g.safetensors --penalty 0.5 --balance 0.1
check "twice the same bytes" cmp g.safetensors again.safetensors

expect 2 "--trainable masks: needs mask gates" grads --model base --input batch.jsonl --out x --trainable masks
expect 2 "--soft: needs mask gates" grads --model masked --input batch.jsonl --out x --soft --masks off
expect 2 "--penalty: needs mask gates" grads --model base --input batch.jsonl --out x --penalty 1
expect 2 "--balance needs --trainable all" grads --model masked --input batch.jsonl --out x --trainable masks --balance 1
expect 2 "not \"some\"" grads --model masked --input batch.jsonl --out x --trainable some
expect 2 "Give --model DIR (a Hugging Face folder)" grads --input batch.jsonl --out x
expect 2 "give --input" grads --model masked --out x
echo '{"ids":[1]}' >single.jsonl
expect 3 "single.jsonl: no token is a target" grads --model masked --input single.jsonl --out x
check "no file after a failure" test ! -e x
expect 5 "text.txt/x" grads --model masked --input batch.jsonl --out text.txt/x
finish
