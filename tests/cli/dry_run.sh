#!/bin/sh
# beam train --dry-run: says what the run does, writes nothing, and fails as the run does.
set -eu
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"
make_models

cat >dry.yaml <<'YAML'
model_name_or_path: base
dataset: data.h5
eval_dataset: data.h5
cutoff_len: 32
per_device_train_batch_size: 2
max_steps: 3
output_dir: deep/er/dry
YAML
listing() { find . -newer dry.yaml ! -name out ! -name err ! -name check | sort; }
touch dry.yaml
sleep 0.02
expect 0 "from the start" train dry.yaml --dry-run
for text in "data.h5: 23 rows, 711 tokens, 691 targets" "3 of 2 rows" "writes             deep/er/dry" "unknown: \`beam estimate" \
    "checkpoints" "free for output" "fits"; do
    check "the plan says: $text" grep -qF "$text" out
done
check "nothing is written" test "$(listing)" = "."
expect 0 "0:03:13 at 0.96 tokens/s (given)" train dry.yaml --dry-run --tokens-per-s 0.96
expect 2 "--tokens-per-s takes a positive number, with --dry-run" train dry.yaml --tokens-per-s 5
expect 2 "--tokens-per-s takes a positive number" train dry.yaml --dry-run --tokens-per-s -1

# A run that is under way: where it goes on, and at its own rate.
"$beam" train dry.yaml --stop-after 2 output_dir=half 2>/dev/null && code=0 || code=$?
check "stopped" test "$code" -eq 7
expect 0 "at step 2 of half/checkpoint-000002" train dry.yaml --dry-run output_dir=half
check "its own rate" grep -q "tokens/s (the run's last steps)" out
expect 2 "was made with other settings" train dry.yaml --dry-run output_dir=half learning_rate=0.1
expect 4 "was made with another dataset, cutoff_len" train dry.yaml --dry-run output_dir=half seed=7
expect 2 "is there already, ahead of step 0" train dry.yaml --dry-run output_dir=half resume_from_checkpoint=none

# What the run would refuse.
if ! "$beam" doctor --json | grep -q '"gpus": \[{'; then
    expect 70 "backend: cuda" train dry.yaml --dry-run backend=cuda
fi
expect 5 "none.h5: cannot open" train dry.yaml --dry-run dataset=none.h5
expect 4 "no such folder" train dry.yaml --dry-run model_name_or_path=none
expect 2 "cutoff_len is 128" train dry.yaml --dry-run cutoff_len=128
expect 2 "runs only 2 experts" train dry.yaml --dry-run mask.target_active=3
mkdir empty
cp config.json empty
expect 4 "holds neither model.safetensors nor" train dry.yaml --dry-run model_name_or_path=empty
finish
