#!/bin/sh
# beam export: folders that are complete or absent, adapters, dtypes, shards, and what is refused.
set -eu
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"
make_models

echo '{"version": 1}' >base/tokenizer.json
expect 0 "evaluate it with: beam eval --model masked/ --data data.h5" export --run masks-run --out masked/
check "the folder holds a model" test -f masked/model.safetensors -a -f masked/config.json -a -f masked/README.md
check "the tokenizer came along" cmp base/tokenizer.json masked/tokenizer.json
check "the architecture refuses engines without masks" grep -q '"ExpertMaskQwen3MoeForCausalLM"' masked/config.json
check "the block of the masks" grep -q '"threshold": 0.5' masked/config.json
check "other keys keep their digits" grep -q '"rms_norm_eps": 1e-0*6,' masked/config.json
check "the model card" grep -q 'base_model: "base"' masked/README.md
check "a model from random numbers has no base" test "$(grep -c base_model base/README.md)" -eq 0
expect 0 "expert masks  threshold 0.5, bias, router features" inspect masked --verify
check "its hashes were compared" grep -q "^checksums" out
check "sha256sum agrees" sh -c "cd masked && sha256sum -c SHA256SUMS"
cp -r masked changed
echo >>changed/README.md
expect 4 "README.md: damaged: its SHA-256" inspect changed --verify
rm changed/README.md
expect 4 "README.md: SHA256SUMS names this file" inspect changed --verify
printf '%064d  ../masked/README.md\n' 0 >changed/SHA256SUMS
expect 4 "a plain name" inspect changed --verify
expect 0 "again: the model of masks-run/checkpoint-000003 at step 3" export --run masks-run --out again
check "exporting again gives the same bytes" cmp masked/model.safetensors again/model.safetensors
mkdir there
expect 0 "there: the model" export --run masks-run/checkpoint-000003 --out there

# What a base folder links to is not what it holds, and does not belong into an export.
echo secret >secret
ln -sf ../secret base/LICENSE
expect 4 "base/LICENSE: is a symbolic link" export --run masks-run --out leaking
check "nothing is left of it" test ! -e leaking
rm base/LICENSE

# Masks alone.
expect 0 "it belongs to the base model base" export --run masks-run --out adapter --adapter-only
expect 0 "masks alone   adapter" inspect adapter
check "the card of an adapter" grep -q "base_model_relation: adapter" adapter/README.md
check "8 tensors" grep -q " in 8 tensors (8 of mask gates)" out

# bfloat16: only what was trained is rounded; an export of rounded weights rounds nothing more.
expect 0 "the model" export --run base-run --out half --dtype bfloat16
expect 0 "bf16: " inspect half --verify
check "all tensors are bf16" grep -qx 'dtypes        bf16: [0-9]*' out
check "config.json says so" grep -q '"torch_dtype": "bfloat16"' half/config.json
run on-half half mask.target_active=1.2 mask.init_bias=0.1
expect 0 "the model" export --run on-half --out half-masked
expect 0 "bf16: " inspect half-masked
check "the masks are f32, the base is as it was" grep -q 'f32: 8 bf16: ' out
same "a mixed export is the run" eval --run on-half --data data.h5 --json -- eval --model half-masked --data data.h5 --json
same "its base is untouched" eval --model half --data data.h5 --json -- eval --model half-masked --data data.h5 --masks off --json

# An exported folder can be trained further, from the masks it has.
run further masked mask.target_active=1.2
expect 0 "the model" export --run further --out masked-more
run all-run masked trainable=all mask.target_active=1.2
expect 0 "the model" export --run all-run --out masked-all
same "all with masks: the export is the run" eval --run all-run --data data.h5 --json -- eval --model masked-all --data data.h5 --json

# What dropped experts give back.
run give-run base mask.target_active=1.2 mask.init_bias=0.1 mask.give_back=true
expect 0 "the model" export --run give-run --out give
check "the block says so" grep -q '"dropped_output": true' give/config.json
check "the card says so" grep -q 'mask_gate.dropped_output' give/README.md
same "give-back: the export is the run" eval --run give-run --data data.h5 --json -- eval --model give --data data.h5 --json
expect 0 "it belongs to the base model base" export --run give-run --out give-adapter --adapter-only
expect 0 "in 10 tensors (10 of mask gates)" inspect give-adapter
sed -i 's/"dropped_output": true/"dropped_output": false/' give/config.json
expect 4 "expert_mask block of its config.json does not mention it" eval --model give --data data.h5

# What is refused, with nothing left behind.
expect 5 "base: exists and is not empty" export --run masks-run --out base
expect 5 "text.txt/x" export --run masks-run --out text.txt/x
expect 5 "text.txt: " export --run masks-run --out text.txt
expect 4 "none: no such folder" export --run none --out x
expect 2 "--adapter-only" export --run base-run --out x --adapter-only
expect 2 "--dtype takes" export --run masks-run --out x --dtype fp8
expect 2 "--shard-gb 0: " export --run masks-run --out x --shard-gb 0
expect 2 "which run?" export --out x
expect 2 "where to?" export --run masks-run
# A checkpoint does not fit a base that was replaced by another of the same shape.
run other-run random:config.json trainable=all mask.mode=off seed=9
mv base kept
expect 4 "no such folder" eval --run masks-run --data data.h5
"$beam" export --run other-run --out base >/dev/null
expect 4 "was made from another base model" export --run masks-run --out x
expect 4 "was made from another base model" eval --run masks-run --data data.h5
sed -i 's/"moe_intermediate_size": 8/"moe_intermediate_size": 12/' base/config.json
expect 4 "base/model.safetensors: tensor " export --run masks-run --out x
rm -r base
mv kept base
check "nothing is left of failed exports" test -z "$(find . -name '*.tmp-*')" -a ! -e x
finish
