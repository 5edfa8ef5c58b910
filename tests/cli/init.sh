#!/bin/sh
# beam init: what it writes is accepted, fits, and trains once there are data; nothing is overwritten.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"
make_models

expect 0 "start/run.yaml: 8 x 64 tokens at a time" init base --out start
check "fits is said once, without advice" test "$(grep -c "it would with" out)" -eq 0
for file in one_node.sh slurm.sbatch network.sh; do
    check "$file" cmp "start/scripts/launch/$file" "$root/scripts/launch/$file"
    check "$file runs" test -x "start/scripts/launch/$file"
done
expect 0 "model_name_or_path: \"$(pwd -P)/base\"" validate start/run.yaml
expect 0 "target_active: 1.2 " validate start/run.yaml
expect 5 "start/run.yaml: is there already, and beam init overwrites nothing" init base --out start
expect 5 "train.h5: cannot open" train start/run.yaml --dry-run output_dir=start/out
cp data.h5 train.h5
cp data.h5 valid.h5
expect 0 "fits" train start/run.yaml --dry-run
expect 0 "" train start/run.yaml output_dir=start/out max_steps=2
keys=$(sed -n 's/^# *beam train run.yaml \(trainable=.*\)/\1/p' start/run.yaml)
# shellcheck disable=SC2086 # a list
expect 0 "" train start/run.yaml output_dir=start/better max_steps=2 ${keys:?the hint is missing}

# A launcher that is there and is this one is left alone; another one is not replaced.
mkdir -p same/scripts/launch other/scripts/launch
cp "$root/scripts/launch/network.sh" same/scripts/launch/
expect 0 "same/run.yaml" init base --out same
echo mine >other/scripts/launch/network.sh
expect 5 "other/scripts/launch/network.sh: is there already" init base --out other
check "and nothing was written" test ! -e other/run.yaml

# Sized for the memory that there is.
sed 's/"hidden_size": 16/"hidden_size": 1024/; s/: 64,/: 4096,/; s/: 259/: 1000/' config.json >wide.json
"$beam" estimate wide.json cutoff_len=2048 per_device_train_batch_size=8 mask.target_active=1.2 --json >estimate.json
total=$(sed 's/.*"training_bytes":{[^}]*"total":\([0-9]*\).*/\1/' estimate.json)
expect 0 "8 x 2048 tokens" init wide.json --out all --memory "$(awk "BEGIN {print ($total + 1e6) / 1e9}")"
check "no recomputation" grep -q "^gradient_checkpointing: false" all/run.yaml
check "the name is the file's" grep -q '^model_name_or_path: "wide" # TO FILL IN' all/run.yaml
check "no byte-level data" grep -q "ids of this model's tokenizer (vocabulary of 1000)" all/run.yaml
less=$(awk "BEGIN {print 0.5 * $total / 1e9}")
expect 0 "fits" init wide.json --out half --memory "$less"
check "something is smaller" grep -qE "^gradient_checkpointing: true|^per_device_train_batch_size: [124] " half/run.yaml
expect 0 "fits" estimate half/run.yaml model_name_or_path=random:wide.json --memory "$less"
expect 0 "does not fit" init wide.json --out none --memory 0.001
expect 0 "per_device_train_batch_size: 1 " validate none/run.yaml
mkdir later
cp config.json later
expect 0 "later/run.yaml" init later/config.json --out later
expect 0 "model_name_or_path: \"$(pwd -P)/later\"" validate later/run.yaml
expect 0 "bf16: \"true\"" validate later/run.yaml bf16=true

expect 2 "too few arguments" init
expect 4 "absent: no such folder" init absent --out x
expect 5 "absent.json" init absent.json --out x
expect 2 "--memory -1: expected gigabytes" init base --out x --memory -1
expect 2 "backend must be one of auto, cpu, cuda" init base --out x --backend gpu
check "nothing is left of what was refused" test ! -e x
finish
