#!/bin/sh
# beam validate: the resolved configuration, overrides, errors with file, line and column.
set -eu
. "$(dirname "$0")/expect.sh"
run="$folder/run.yaml"

cat >"$run" <<'YAML'
model_name_or_path: model
dataset: train.h5
lr: 2e-4
mask:
  target_active: 1.5
YAML
expect 0 "learning_rate: 0.0002" validate "$run"
expect 0 "run.yaml:3" validate "$run"
expect 0 "\"lr\" is taken as \"learning_rate\"" validate "$run"
expect 0 "target_active: 1.5" validate "$run"
expect 0 "seed: 7 " validate "$run" seed=7
expect 0 "# command line" validate "$run" --seed 7
expect 0 "\"seed\": 8" validate --json "$run" --seed=8
expect 0 "\"init_bias\": -2," validate "$run" --mask.init-bias -2 --json
expect 0 "penalty: 0.2" validate "$run" mask.target_active=null mask.penalty=0.2
expect 2 "beam validate: command line: unknown key \"sed\"; did you mean \"seed\"?" validate "$run" sed=7
expect 2 "command line: --seed has no value" validate "$run" --seed
expect 2 "unknown option --seed before the configuration file" validate --seed 7 "$run"
expect 2 "cannot be combined with mask.penalty" validate "$run" mask.penalty=1
expect 2 "$folder/none.yaml" validate "$folder/none.yaml"
expect 0 "## Masks" validate --reference
check "docs/configuration.md is current; else: beam validate --reference > docs/configuration.md" \
    cmp "$folder/out" "$(dirname "$0")/../../docs/configuration.md"

"$beam" validate "$run" >"$folder/resolved.yaml" 2>/dev/null
"$beam" validate "$folder/resolved.yaml" | sed 's/ *# .*//' >"$folder/again"
sed 's/ *# .*//' "$folder/resolved.yaml" >"$folder/once"
check "the resolved configuration loads back to itself" cmp "$folder/once" "$folder/again"

printf 'model_name_or_path: m\ndataset: d\nmask:\n  penalty: 1\nmaks:\n  penalty: 1\n' >"$run"
expect 2 "run.yaml:6:3: unknown key \"maks.penalty\"; did you mean \"mask.penalty\"?" validate "$run"
check "one line per error" test "$(wc -l <"$folder/err")" -eq 1

# Disk full while printing is an I/O error, not success.
if [ -w /dev/full ]; then
    printf 'model_name_or_path: m\ndataset: d\n' >"$run"
    "$beam" validate "$run" >/dev/full 2>"$folder/err" && code=0 || code=$?
    check "exit code 5 on a full disk" test "$code" -eq 5
fi
finish
