#!/bin/sh
# The method's other keys through all verbs: what is trained is what --run and the export evaluate, and a stopped run
# goes on to the same model.
set -eu
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"
make_models

# survives NAME KEY=VALUE...: trains, stops after one step and goes on, exports, and evaluates all three.
survives() {
    variant=$1
    shift
    run "$variant-run" base mask.init_bias=0.1 "$@"
    "$beam" train "$variant-run.yaml" mask.init_bias=0.1 "$@" output_dir="$variant-parts" --stop-after 1 2>err || true
    expect 0 "resumed from" train "$variant-run.yaml" mask.init_bias=0.1 "$@" output_dir="$variant-parts"
    "$beam" export --run "$variant-run" --out "$variant" >/dev/null
    results eval --run "$variant-run" --data data.h5 --json >"$variant.json"
    same "$variant: the export is the run" eval --run "$variant-run" --data data.h5 --json -- \
        eval --model "$variant" --data data.h5 --json
    same "$variant: the resumed run is the run" eval --run "$variant-run" --data data.h5 --json -- \
        eval --run "$variant-parts" --data data.h5 --json
    same "$variant: scores" score --run "$variant-run" --input ids.jsonl -- score --model "$variant" --input ids.jsonl
}
echo '{"ids":[108,105,110,101,32,49]}' >ids.jsonl
results eval --model base --data data.h5 --json >base.json

survives teacher distill.weight=0.5 distill.temperature=2 mask.union_penalty=0.5 mask.union_batch=4 \
    gradient_checkpointing=true packing=false per_device_train_batch_size=3
results eval --model teacher --data data.h5 --masks off --json >off.json
check "a teacher leaves the base as it is" cmp base.json off.json

survives soft mask.form=soft mask.temperature=2 mask.temperature_end=0.05 mask.give_back=true mask.penalty_norm=l2
survives cut mask.threshold=0.6 mask.temperature=3

survives routers trainable=masks+router router_aux_loss_coef=0.01 mask.protect="0:1 1:3"
results eval --model routers --data data.h5 --masks off --json >off.json
differ "routers train" base.json off.json
expect 2 "its masks do not fit the base" export --run routers-run --out x --adapter-only
"$beam" export --run routers-run --out half --dtype bfloat16 >/dev/null
expect 0 "\"masks\":true" eval --model half --data data.h5 --json

# Another number of candidates, with gates and without.
survives single num_experts_per_tok=1 mask.target_active=null
check "one candidate is in config.json" grep -q '"num_experts_per_tok": 1' single/config.json
check "and all there is" grep -q '"top_k":1' single.json
survives more num_experts_per_tok=3 mask.mode=off trainable=all
check "three run" grep -q '"avg_active":3,"top_k":3' more.json
expect 2 "made for 1 candidates" train single-run.yaml model_name_or_path=single num_experts_per_tok=2 output_dir=other
expect 2 "was made with other settings" train single-run.yaml mask.init_bias=0.1 num_experts_per_tok=2
expect 2 "mask.temperature_end is 0.5 and the masks' threshold 0.6" train cut-run.yaml model_name_or_path=cut \
    mask.temperature_end=0.5 output_dir=moved
finish
