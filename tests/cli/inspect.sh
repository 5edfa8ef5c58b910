#!/bin/sh
# beam inspect: every kind of thing, and what damage looks like.
set -eu
configs=$(cd "$(dirname "$0")/../fixtures/configs" && pwd)
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"
"$beam" preprocess text.txt --out data.h5 --separator '<end>' >/dev/null
run base-run random:config.json trainable=all mask.mode=off save_steps=1 save_total_limit=3
"$beam" export --run base-run --out base --shard-gb 0.001 >/dev/null

expect 0 "tokenizer     byte, vocabulary of 259" inspect data.h5
expect 0 "run           base-run, 3 checkpoints" inspect base-run
expect 0 "\"name\":\"checkpoint-000003\",\"step\":3,\"usable\":true" inspect base-run --json --verify
expect 0 "every hash verified" inspect base-run/checkpoint-000002
expect 0 "value/model.embed_tokens.weight" inspect base-run/checkpoint-000002 --tensors
expect 0 "\"step\": 2" inspect base-run/checkpoint-000002 --json
expect 0 "expert masks  none" inspect base --verify
expect 0 "\"experts\":4,\"top_k\":2," inspect base --json
expect 0 "{\"name\":\"lm_head.weight\",\"dtype\":\"f32\",\"shape\":[259,16]}" inspect base --json --tensors
expect 0 "layers        2" inspect config.json
expect 0 "keys and values from a latent of 512" inspect "$configs/DeepSeek-V2-Lite.json"
expect 0 "rotation      yarn, factor 40" inspect "$configs/DeepSeek-V2-Lite.json"
expect 0 "shared        one expert of width 5632, gated" inspect "$configs/Qwen1.5-MoE-A2.7B.json"
expect 4 "\"gpt_oss\"; beam implements qwen3_moe" inspect "$configs/gpt-oss-20b.json"
expect 0 " tensors" inspect base/model.safetensors
check "one line of JSON" test "$("$beam" inspect base --json | wc -l)" -eq 1

# What experts do, of a model folder, a run, a random model; and a protected one alone survives.
expect 0 "super experts 0 of 8; to protect them: mask.protect: \"none\"" inspect base --experts --data data.h5
check "every expert has its line" test "$(grep -c '%' out)" -eq 8
expect 0 "\"super_experts\":0,\"protect\":\"none\",\"list\":[{\"layer\":" inspect base-run --experts --data data.h5 --json
check "one line of JSON with 8 experts" test "$(tr '{' '\n' <out | grep -c '"super":false')" -eq 8
expect 0 "\"tokens\":70," inspect random:config.json --experts --data data.h5 --rows 2 --json
expect 2 "give --data FILE" inspect base --experts
expect 2 "go with --experts" inspect base --data data.h5
expect 2 "--rows -1" inspect base --experts --data data.h5 --rows -1
expect 3 "text.txt" inspect base --experts --data text.txt
run protected base mask.protect=1:3 mask.penalty=50 mask.penalty_warmup_steps=0 learning_rate=0.3 max_steps=12
"$beam" export --run protected --out protected-model >/dev/null
expect 0 "\"expert_load\":[[0,0,0,0],[0,0,0,0." eval --model protected-model --data data.h5 --json
for model in base protected-model; do
    "$beam" inspect $model --experts --data data.h5 --json | sed 's/.*"data":/"data":/' >$model.experts
done
check "masks play no part in what experts do" cmp base.experts protected-model.experts
check "something was compared" grep -q '"candidate":0\.' base.experts
"$beam" export --run protected --out bf16-model --dtype bfloat16 >/dev/null
expect 0 "\"expert_load\":[[0,0,0,0],[0,0,0,0." eval --model bf16-model --data data.h5 --json

printf 'x' | dd of=base-run/checkpoint-000003/state.h5 bs=1 seek=700 conv=notrunc 2>err
expect 4 "its SHA-256 is not the one in the manifest" inspect base-run/checkpoint-000003
expect 4 "1 of 3 checkpoints cannot be used" inspect base-run --verify
check "the others are listed" grep -q "^checkpoint-000002 " out
expect 0 "loss" eval --run base-run --data data.h5
check "the damaged one is passed over" grep -q "passing this checkpoint over" err
cp data.h5 bad.h5
printf 'x' | dd of=bad.h5 bs=1 seek=700 conv=notrunc 2>err
expect 3 "bad.h5: damaged" inspect bad.h5
# 0xff bytes in the data are NaN.
size=$(wc -c <base/model.safetensors)
printf '\377\377\377\377' | dd of=base/model.safetensors bs=1 seek="$((size - 4))" conv=notrunc 2>err
expect 4 "is -nan" inspect base --verify
expect 0 "numbers" inspect base
head -c 1000 base/model.safetensors >cut.safetensors
expect 4 "cut.safetensors: " inspect cut.safetensors
mkdir nothing
expect 4 "nothing: holds no config.json" inspect nothing
expect 5 "none: no such file" inspect none
expect 2 "text.txt: its name does not tell" inspect text.txt
expect 2 "too few arguments" inspect
finish
