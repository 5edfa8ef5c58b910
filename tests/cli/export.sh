#!/bin/sh
# beam export: folders that are complete or absent, adapters, dtypes, shards, and what is refused.
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
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

# For transformers: code, classes, a model_type that it refuses without them, and a self-test.
check "the code" cmp masked/modeling_expert_mask.py "$source/serve/hf/modeling_expert_mask.py"
check "its classes" grep -q '"AutoConfig": "modeling_expert_mask.ExpertMaskQwen3MoeConfig"' masked/config.json
check "the model_type is ours" grep -q '"model_type": "expert_mask_qwen3_moe"' masked/config.json
check "a base has none of it" test ! -e base/modeling_expert_mask.py -a ! -e base/expert_mask_selftest.json
check "the self-test is that of the folder" test -s masked/expert_mask_selftest.json
sed -n 's/^"ids": \(.*\),$/{"ids": \1}/p' masked/expert_mask_selftest.json >ids.jsonl
"$beam" score --model masked --input ids.jsonl --experts >scored
sed -n 's/.*"logprobs":\(\[[^]]*\]\).*/\1/p' scored >logprobs
sed -n 's/^"logprobs": \(.*\),$/\1/p' masked/expert_mask_selftest.json >expected
check "its log-probabilities are those of beam score" cmp logprobs expected
sed -n 's/.*"experts"://p' scored >experts
tr -d '\n ' <masked/expert_mask_selftest.json | sed 's/.*"experts":\(.*\),"margins".*/\1}/' >expected
check "its experts are those of beam score" test "$(cat experts)" = "$(cat expected)"
expect 0 "plain: the model" export --run masks-run --out plain --plain-type
check "the base's model_type can stay" grep -q '"model_type": "qwen3_moe"' plain/config.json
same "its model is the same" eval --model masked --data data.h5 --json -- eval --model plain --data data.h5 --json
sed -i '/"expert_mask": {/,/^  },$/d; s/"ExpertMaskQ/"Q/' plain/config.json
sed -i 's/"qwen3_moe"/"expert_mask_qwen3_moe"/' plain/config.json
expect 4 "is that of a masked model, but \"expert_mask\" is missing" inspect plain
echo '{"ids": [1, 2, 300]}' >wrong.jsonl
expect 3 "wrong.jsonl:1: " export --run masks-run --out x --selftest-input wrong.jsonl
printf '{"ids": [1, 2]}\n{"ids": [3]}\n' >two.jsonl
expect 3 "a self-test is one sequence" export --run masks-run --out x --selftest-input two.jsonl
echo '{"ids": [72, 101, 108, 108, 111]}' >hello.jsonl
expect 0 "self-test: 5 tokens, 20 decisions" export --run masks-run --out hello --selftest-input hello.jsonl
check "it has the given ids" grep -q '^"ids": \[72,101,108,108,111\],$' hello/expert_mask_selftest.json

# What the card says.
printf -- '---\nlicense: apache-2.0\nlanguage: en\n---\nA base.\nlicense: no\n' >base/README.md
"$beam" eval --model base --data data.h5 --json >base.json
"$beam" eval --run masks-run --data data.h5 --json >masks.json
expect 0 "carded: the model" export --run masks-run --out carded --eval masks.json --eval-base base.json --base-name my/base
check "licence of the base" test "$(grep -c '^license: apache-2.0$' carded/README.md)" -eq 1 -a "$(grep -c license: carded/README.md)" -eq 1
check "name of the base" grep -q '^base_model: "my/base"$' carded/README.md
check "retention" grep -q '^| base | .* | 2.00 of 2 | .* | 100.0% |$' carded/README.md
check "a warning" grep -q 'Not every program knows masks' carded/README.md
printf -- '---\nlicense:\n  - mit\n- apache-2.0\nlanguage: en\n---\n' >base/README.md
expect 0 "listed: the model" export --run masks-run --out listed
check "licences in a list" test "$(sed -n '2,5p' listed/README.md | tr '\n' ' ')" = 'license:   - mit - apache-2.0 base_model: "base" '
rm base/README.md
echo "Do what you like." >base/LICENSE.txt
expect 0 "filed: the model" export --run masks-run --out filed
check "a licence that is a file" grep -q '^license_link: LICENSE.txt$' filed/README.md
check "which came along" cmp base/LICENSE.txt filed/LICENSE.txt
expect 2 "--eval and --eval-base go together" export --run masks-run --out x --eval masks.json
expect 3 "is an evaluation with masks off" export --run masks-run --out x --eval base.json --eval-base base.json
sed 's/data.h5/other.h5/' base.json >other.json
expect 3 "evaluations of different tokens" export --run masks-run --out x --eval masks.json --eval-base other.json

# Rounded masks: how many decisions change, and the self-test is that of the rounded ones.
expect 0 "rounding to bfloat16 changed " export --run masks-run --out rounded --dtype bfloat16
check "the card says it" grep -q 'rounding the trained tensors to bfloat16 changed' rounded/README.md
"$beam" score --model rounded --input ids.jsonl | sed -n 's/.*"logprobs":\(\[[^]]*\]\).*/\1/p' >logprobs
sed -n 's/^"logprobs": \(.*\),$/\1/p' rounded/expert_mask_selftest.json >expected
check "the self-test is of rounded masks" cmp logprobs expected
differ "which differ" rounded/expert_mask_selftest.json masked/expert_mask_selftest.json
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
same "base and adapter are the whole model" eval --model base --adapter adapter --data data.h5 --json -- eval --model masked --data data.h5 --json
same "in score" score --model base --adapter adapter --input ids.jsonl -- score --model masked --input ids.jsonl
"$beam" generate --model base --adapter adapter --prompt line --ignore-eos --temperature 0 >one 2>err
"$beam" generate --model masked --prompt line --ignore-eos --temperature 0 >two 2>err
check "in generate" cmp one two
same "which masks can be left out of" eval --model base --adapter adapter --masks off --data data.h5 --json -- eval --model base --data data.h5 --json
expect 2 "--adapter goes with --model" eval --run masks-run --adapter adapter --data data.h5
expect 4 "has mask gates of its own" eval --model masked --adapter adapter --data data.h5
expect 4 "no such file; --adapter wants" eval --model base --adapter masked --data data.h5
expect 4 "has no expert_mask block" eval --model base --adapter base --data data.h5
run another-run random:config.json trainable=all mask.mode=off seed=9
"$beam" export --run another-run --out another >/dev/null
expect 4 "was trained on another base model than another" eval --model another --adapter adapter --data data.h5
expect 4 "was trained on another base model than another" generate --model another --adapter adapter --prompt a
sed 's/"num_experts": 4/"num_experts": 3/' config.json >config3.json
run third-run random:config3.json trainable=all mask.mode=off
"$beam" export --run third-run --out third >/dev/null
expect 4 "a model of another shape than third" eval --model third --adapter adapter --data data.h5
cp -r adapter untold
sed -i '/base_hash/d; s/\("avg_active": [0-9.]*\),/\1/' untold/config.json
expect 0 "untold does not say which base model it belongs to" eval --model base --adapter untold --data data.h5
sed 's/\("base_hash": "\)./\1G/' adapter/config.json >untold/config.json
expect 4 "expected 16 hexadecimal digits" eval --model base --adapter untold --data data.h5

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
