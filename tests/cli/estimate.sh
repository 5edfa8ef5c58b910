#!/bin/sh
# beam estimate, and what does not fit into memory.
set -eu
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"

cat >run.yaml <<'YAML'
model_name_or_path: random:config.json
dataset: not-there.h5
cutoff_len: 32
output_dir: run
YAML
expect 0 "fits" estimate run.yaml
for word in parameters gradients optimizer activations scratch checkpoint export; do
    check "a line for $word" grep -q "^ *$word " out
done
# Embedding and head 259*16 each; per layer: attention 2*16*16 + 2*16*8, norms 2*16 + 2*8, router 4*16, experts
# 4*3*16*8, 2 of 4 at a time; the final norm 16.
expect 0 "parameters    13,136 (13.14 K), 11,600 active per token (11.60 K)" estimate config.json
expect 0 "\"parameters\":13136,\"active_parameters\":11600,\"gate_parameters\":142," estimate run.yaml --json
check "one line of JSON" test "$(wc -l <out)" -eq 1
expect 0 "\"trained_parameters\":13278," estimate run.yaml trainable=all --json
expect 0 "\"fits\":true,\"advice\":[]" estimate random:config.json --json
expect 2 "unknown key \"sed\"" estimate run.yaml sed=1
expect 2 "none.yaml" estimate none.yaml
expect 0 "memory of training, of each rank" estimate run.yaml --ranks 4
check "and what it receives" grep -q "gradients of other ranks" out
expect 0 "\"ranks\":4," estimate run.yaml --ranks 4 --json
expect 2 "--ranks 0: expected a number from 1" estimate run.yaml --ranks 0

# Time: 32 tokens a step.
expect 0 "unknown: --measure times" estimate run.yaml
expect 0 "0:02:00  10 steps" estimate run.yaml max_steps=10 --tokens-per-s 2.6666666666666667
expect 0 "\"tokens_per_s\":16,\"step_seconds\":2,\"run_seconds\":20," estimate run.yaml max_steps=10 \
    --tokens-per-s 16 --json
expect 0 "\"step_seconds\":null,\"run_seconds\":null," estimate run.yaml --json
expect 0 "tokens/s, measured" estimate run.yaml --measure max_steps=10
expect 0 "measured on one rank, without exchanges" estimate run.yaml --measure --ranks 2 trainable=all
expect 2 "--measure is for one process" estimate run.yaml --measure --ranks 2 expert_parallel=2
expect 2 "--tokens-per-s takes a positive number, and not with --measure" estimate run.yaml --measure \
    --tokens-per-s 5

# A folder that was not downloaded whole is enough.
mkdir base
cp config.json base
expect 0 "fits" estimate base
expect 0 "weights       none here" inspect base
expect 0 "\"parameters\":13136,\"active_parameters\":11600,\"gate_parameters\":0,\"masks\":false,\"weights\":false" \
    inspect base --json
expect 4 "holds no weights to look at" inspect base --verify
expect 0 "parameters    13,136" inspect config.json

# Larger than any machine. There are no weights either, but that is not the first thing to say.
mkdir huge
sed 's/"hidden_size": 16/"hidden_size": 16384/; s/"num_hidden_layers": 2/"num_hidden_layers": 256/
     s/"moe_intermediate_size": 8/"moe_intermediate_size": 8192/; s/"num_experts": 4/"num_experts": 512/' \
    config.json >huge/config.json
expect 2 "does not fit" estimate huge
check "and nothing makes it fit" grep -q "no setting of batches" out
expect 2 "\"fits\":false,\"advice\":[]" estimate huge --json
"$beam" preprocess text.txt --out data.h5 --separator '<end>' >/dev/null
echo '{"ids": [1, 2, 3]}' >ids.jsonl
expect 2 "huge: needs" eval --model huge --data data.h5
expect 2 "huge: needs" score --model huge --input ids.jsonl
expect 2 "huge: needs" grads --model huge --input ids.jsonl --out grads.safetensors
expect 2 "huge: needs" train run.yaml model_name_or_path=huge dataset=data.h5
# A batch can be too large for a small model, too.
expect 2 "it would with per_device_train_batch_size=" estimate run.yaml cutoff_len=65536 per_device_train_batch_size=32760
finish
