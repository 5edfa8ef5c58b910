#!/bin/sh
# docs/tutorial.md: every command of it, literally, in a folder that has what the project's has.
set -eu
. "$(dirname "$0")/expect.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir "$folder/bin"
ln -s "$beam" "$folder/bin/beam"
ln -s "$root/examples" "$root/configs" "$folder"
export PATH="$folder/bin:$PATH"
cd "$folder"

# value FILE KEY: a number of an evaluation.
value() {
    sed -n "s/.*\"$2\":\([^],}]*\).*/\1/p" "$1"
}

sed -n '/^```sh$/,/^```$/p' "$root/docs/tutorial.md" | grep -v '^```' >commands
check "the tutorial has its commands" test "$(wc -l <commands)" -ge 12
while read -r command; do
    check "$command" sh -c "$command"
done <commands

check "the samples are as the tutorial shows them" sh -c "beam preprocess runs/chat/train.h5 --show 1 | tail -n +3 |
    while IFS= read -r line; do grep -qF -- \"\$line\" '$root/docs/tutorial.md' || exit 1; done"
base=$(value runs/chat/base.json loss) masked=$(value runs/chat/masked.json loss)
active=$(value runs/chat/masked.json avg_active)
check "it learned to answer (loss $base, then $masked)" awk -v x="$base" -v y="$masked" 'BEGIN { exit !(y < 0.5 * x) }'
check "with about half of its experts ($active of 8)" awk -v x="$active" 'BEGIN { exit !(x > 3 && x < 5) }'
check "a report" grep -q '</html>' runs/chat/report.html
beam eval --model runs/chat/model --data runs/chat/valid.h5 --json >exported.json
check "the export is what was trained" test "$(value exported.json loss)" = "$masked"
wait_share=$(sed -n 's/.*"data_wait":\([^,]*\).*/\1/p' runs/chat/run/metrics.jsonl | sort -g |
    awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }')
check "data takes less than 1 % of a step's time, in the middle one of all ($wait_share)" \
    awk -v x="$wait_share" 'BEGIN { exit !(x < 0.01) }'
finish
