# shellcheck shell=sh
# Sourced by messages.sh: the messages of adapters and exports. `base` and `masked` are there.

messages_of_adapters() {
    "$beam" export --run masks-run --out adapter --adapter-only >/dev/null
    says 2 '--adapter goes with --model DIR' eval --run masks-run --adapter adapter --data data.h5
    says 4 '--adapter ...: the model ... has mask gates of its own' eval --model masked --adapter adapter --data data.h5
    says 4 '--adapter wants the folder that beam export --adapter-only wrote' eval --model base --adapter masked --data data.h5
    run other-run random:config.json trainable=all mask.mode=off seed=9
    "$beam" export --run other-run --out other >/dev/null
    says 4 '--adapter ...: was trained on another base model than ...' eval --model other --adapter adapter --data data.h5
    sed 's/"num_experts": 4/"num_experts": 3/' config.json >three.json
    run third-run random:three.json trainable=all mask.mode=off
    "$beam" export --run third-run --out third >/dev/null
    says 4 'made for a model of another shape ...' eval --model third --adapter adapter --data data.h5
    cp adapter/config.json whole.json
    sed 's/\("base_hash": "\)./\1G/' whole.json >adapter/config.json
    says 4 '"expert_mask.base_hash" is ...' eval --model base --adapter adapter --data data.h5
    sed '/base_hash/d; s/\("avg_active": [0-9.]*\),/\1/' whole.json >adapter/config.json
    says 0 '... does not say which base model it belongs to' eval --model base --adapter adapter --data data.h5
}

messages_of_exports() {
    says 2 '--eval and --eval-base go together' export --run masks-run --out x --eval masks.json
    "$beam" eval --model base --data data.h5 --json >base.json
    "$beam" eval --run masks-run --data data.h5 --json >masks.json
    says 3 'is an evaluation with masks off; --eval wants them on' \
        export --run masks-run --out x --eval base.json --eval-base base.json
    sed 's/data.h5/other.h5/' base.json >other.json
    says 3 'are evaluations of different tokens' export --run masks-run --out x --eval masks.json --eval-base other.json
    printf '{"ids": [1, 2]}\n{"ids": [3]}\n' >two.jsonl
    says 3 'has ... lines {"ids": [...]}; a self-test is one sequence' \
        export --run masks-run --out x --selftest-input two.jsonl
    written "the model's predictions are not finite: an export of it would be of no use" serve/selftest.c
    cp -r masked changed
    echo >>changed/README.md
    says 4 'damaged: its SHA-256 is not the one in SHA256SUMS' inspect changed --verify
    variant v 's/"model_type": "qwen3_moe"/"model_type": "expert_mask_qwen3_moe"/'
    refused '"model_type" is that of a masked model, but ...' v
}
