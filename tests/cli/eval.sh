#!/bin/sh
# beam eval: folders and runs, masks on and off, pruning, and models and data that are refused.
set -eu
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"
make_models
"$beam" export --run masks-run --out masked >/dev/null

# An exported folder is the model that was trained.
same "masks: the export is the run" eval --run masks-run --data data.h5 --json -- eval --model masked --data data.h5 --json
same "all: the export is the run" eval --run base-run --data data.h5 --json -- eval --model base --data data.h5 --json
same "one checkpoint is found by its name" eval --run masks-run/checkpoint-000003 --data data.h5 --json -- \
    eval --run masks-run --data data.h5 --json

# Without masks, the base model is back; with all candidates, pruning does nothing.
results eval --model base --data data.h5 --json >base.json
results eval --model masked --data data.h5 --json >masked.json
results eval --model masked --data data.h5 --masks off --json >off.json
check "--masks off is the base model" cmp base.json off.json
differ "masks change the model" base.json masked.json
expect 0 "\"masks\":true" eval --model masked --data data.h5 --masks on --json
active=$(field avg_active)
check "fewer experts are active ($active)" awk "BEGIN { exit !($active > 0.2 && $active < 1.9) }"
check "the load adds up to the active experts" awk -v n="$active" '
    { sub(/.*"expert_load":\[\[/, ""); sub(/\]\].*/, ""); gsub(/[],[]+/, " "); for (i = 1; i <= NF; i++) sum += $i }
    END { d = sum / 2 - n; exit !(d < 1e-4 && d > -1e-4) }' out
expect 0 "\"moe_flops_saved\":" eval --model masked --data data.h5 --json
check "work saved: 1 - (active * 3*16*8 + 16*4) / (2 * 3*16*8)" awk -v saved="$(field moe_flops_saved)" -v n="$active" \
    'BEGIN { d = saved - (1 - (n * 384 + 64) / 768); exit !(d < 1e-9 && d > -1e-9) }'
expect 0 "\"avg_active\":2,\"top_k\":2,\"pruned_to\":2" eval --model masked --data data.h5 --top-k 2 --json
full=$(field loss)
check "it saves exactly nothing" grep -q '"moe_flops_saved":0,' out
check "--top-k 2 of 2 is the base model" grep -q "\"loss\":$full," base.json
expect 0 "\"avg_active\":1,\"top_k\":2,\"pruned_to\":1" eval --model base --data data.h5 --top-k 1 --json
pruned=$(field loss)
expect 0 "\"renormalize\":true" eval --model base --data data.h5 --top-k 1 --renormalize --json
check "pruning changes the loss, renormalising changes it again" test "$full" != "$pruned" -a "$pruned" != "$(field loss)"

# Null experts: logits of 0 at first, below the best of most tokens; the balance makes them as likely as the others.
cp -r base calm
sed -i 's/"initializer_range": 0.3/"initializer_range": 1e-9/' calm/config.json
nulls="null_experts=12 mask.mode=off trainable=masks+router"
# shellcheck disable=SC2086 # a list
run null-start calm $nulls learning_rate=0
# shellcheck disable=SC2086
run null-run calm $nulls router_aux_loss_coef=1 max_steps=40
expect 0 "\"top_k\":2" eval --run null-start --data data.h5 --json
active=$(field avg_active)
check "few tokens choose null experts at first ($active)" awk "BEGIN { exit !($active > 1.2 && $active < 2) }"
expect 0 "\"top_k\":2" eval --run null-run --data data.h5 --json
active=$(field avg_active)
check "then most do ($active)" awk "BEGIN { exit !($active > 0.3 && $active < 0.8) }"
check "work saved: 1 - (active * 3*16*8 + 16*12) / (2 * 3*16*8)" awk -v saved="$(field moe_flops_saved)" -v n="$active" \
    'BEGIN { d = saved - (1 - (n * 384 + 192) / 768); exit !(d < 1e-9 && d > -1e-9) }'
expect 0 "\"pruned_to\":1" eval --run null-run --data data.h5 --top-k 1 --json
check "the best one alone may be a null expert" awk "BEGIN { exit !($(field avg_active) < 0.8) }"
expect 2 "has no mask gates" eval --run null-run --data data.h5 --masks on
expect 2 "which no Hugging Face model has" export --run null-run --out null
check "nothing is left of the export" test ! -e null

# A piece of the text with the kept experts of its tokens, as beam score counts them; for masks only.
expect 0 "\"sample\":{\"tokenizer\":\"byte\",\"ids\":[" eval --model masked --data data.h5 --sample 5 --json
sed 's/.*"sample":{[^[]*"ids":\(\[[^]]*\]\).*/{"ids":\1}/' out >sample.jsonl
check "five tokens" grep -qE '^\{"ids":\[([0-9]+,){4}[0-9]+\]\}$' sample.jsonl
sed 's/.*"kept":\[\([^]]*\)\].*/\1/' out | tr ',' '\n' >kept
"$beam" score --model masked --input sample.jsonl | sed 's/.*"active":\[\[\(.*\)\]\].*/\1/; s/\],\[/\n/g' |
    awk -F, '{ print ($1 + $2) / 2 }' >counted
check "kept experts are those of beam score" diff counted kept
for options in "--sample 0" "--masks off" "--top-k 1"; do
    # shellcheck disable=SC2086
    check "no sample with $options" sh -c "! $beam eval --model masked --data data.h5 --json $options | grep sample"
done
expect 2 "--sample -1: expected a number of tokens" eval --model masked --data data.h5 --json --sample -1

# The batch does not matter, the rows do.
expect 0 "\"batch_rows\":3" eval --model masked --data data.h5 --batch-rows 3 --sequence 40 --json
check "groups of 1 and 2 rows" grep -qE '"distinct_experts":\{"1":[0-9.]*,"2":[0-9.]*\}' out
three=$(field loss)
expect 0 "\"sequence\":40" eval --model masked --data data.h5 --batch-rows 8 --sequence 40 --json
check "the loss does not depend on the batch" awk "BEGIN { d = $three - $(field loss); exit !(d < 1e-6 && d > -1e-6) }"
expect 0 "tokens/s" eval --model masked --data data.h5 --rows 2
check "all lines of the table" test "$(grep -cE '^(loss|perplexity|bits per byte|token accuracy|MoE FLOPs saved|active by layer) ' out)" -eq 6

# What is refused.
cp -r base broken
sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 3/' broken/config.json
expect 4 "broken: tensor model.layers.2.input_layernorm.weight is missing" eval --model broken --data data.h5
sed -i 's/"num_hidden_layers": 3/"num_hidden_layers": 2/; s/"moe_intermediate_size": 8/"moe_intermediate_size": 12/' broken/config.json
expect 4 "broken/model.safetensors: tensor model.layers.0.mlp.experts.0" eval --model broken --data data.h5
sed -i 's/"moe_intermediate_size": 12/"moe_intermediate_size": 8/' broken/config.json
expect 0 "loss" eval --model broken --data data.h5
head -c 20000 base/model.safetensors >broken/model.safetensors
expect 4 "broken/model.safetensors: " eval --model broken --data data.h5
size=$(wc -c <base/model.safetensors)
cp base/model.safetensors broken/
printf '\377\377\377\377' | dd of=broken/model.safetensors bs=1 seek="$((size - 4))" conv=notrunc 2>err # NaN
expect 6 "broken: the loss is not finite" eval --model broken --data data.h5 --json
check "null in JSON" grep -q '"loss":null' out
rm broken/model.safetensors
expect 4 "broken: holds neither model.safetensors" eval --model broken --data data.h5
sed 's/259/100/' config.json >small.json
expect 3 "data.h5: holds token ids up to 256, but the vocabulary of random:small.json has 100" \
    eval --model random:small.json --data data.h5
head -c 2000 data.h5 >cut.h5
expect 3 "cut.h5: " eval --model base --data cut.h5
: >empty.h5
expect 3 "empty.h5: " eval --model base --data empty.h5
expect 3 "text.txt: is text, not a token file; make one with" eval --model base --data text.txt
expect 5 "none.h5: cannot open" eval --model base --data none.h5
expect 4 "none: no such folder" eval --model none --data data.h5
expect 4 "none: no such folder" eval --run none --data data.h5
expect 4 "base: holds no complete checkpoint" eval --run base --data data.h5
expect 2 "base has no mask gates" eval --model base --data data.h5 --masks on
expect 2 "on or off, not \"yes\"" eval --model base --data data.h5 --masks yes
expect 2 "has 2 candidates" eval --model base --data data.h5 --top-k 3
expect 2 "has 2 candidates" eval --model base --data data.h5 --top-k 0
expect 2 "cannot be combined" eval --model masked --data data.h5 --top-k 1 --masks on
expect 2 "go with --top-k" eval --model base --data data.h5 --renormalize
expect 2 "go with --top-k" eval --model base --data data.h5 --anchor 1
expect 2 "give one of them" eval --model base --data data.h5 --top-k 1 --renormalize --anchor 1
expect 2 "--top-p 0: expected" eval --model base --data data.h5 --top-p 0
expect 2 "--anchor -3: expected" eval --model base --data data.h5 --top-k 1 --anchor -3
expect 0 "\"pruned_to\":2,\"top_p\":0.6," eval --model base --data data.h5 --top-p 0.6 --json
expect 0 "anchored to the best 2" eval --model base --data data.h5 --top-k 1 --anchor 2
expect 2 "--anchor -1: expected" eval --model base --data data.h5 --top-k 1 --anchor -1
expect 2 "--anchor 3: base has 2 candidates" eval --model base --data data.h5 --top-k 1 --anchor 3
expect 2 "--top-p -1: expected" eval --model base --data data.h5 --top-p -1
expect 2 "--top-k -1: base has 2 candidates" eval --model base --data data.h5 --top-k -1
expect 0 "\"masks\":false,\"loss\":$full," eval --model masked --data data.h5 --top-p 1 --json
expect 2 "cannot be combined" eval --model masked --data data.h5 --top-p 1 --masks on
expect 2 "--sequence 65" eval --model base --data data.h5 --sequence 65
expect 2 "which text?" eval --model base
expect 2 "which model?" eval --data data.h5
expect 2 "not both" eval --model base --run base-run --data data.h5
finish
