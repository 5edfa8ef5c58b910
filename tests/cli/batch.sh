#!/bin/sh
# beam bench batch: quality and different experts of batches, lone pairs kept, dropped and moved.
set -eu
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"
make_models
"$beam" export --run masks-run --out masked >/dev/null

# row BATCH NAME: its kept and different experts, loss and accuracy.
row() {
    sed 's/{"batch"/\n&/g' out | sed -n "s/^{\"batch\":$1,\"experts\":\"$2\",\(.*\),\"targets\".*/\1/p"
}
number() {
    row "$1" "$2" | sed "s/.*\"$3\":\([^,]*\).*/\1/"
}

expect 0 "\"distinct_experts\"" bench batch --model masked --data data.h5 --batch 1,4,8 --rows 8 --sequence 16 --json
check "four rules for three batches" test "$(grep -o '"batch"' out | wc -l)" -eq 12
for rule in top-k masks; do
    for batch in 4 8; do
        check "$rule: the loss of $batch together is that of each alone" \
            test "$(number 1 $rule loss)" = "$(number $batch $rule loss)"
    done
done
check "alone every pair is lone" test "$(number 1 'lone dropped' avg_active)" = 0
check "alone nothing can be moved" test "$(row 1 masks)" = "$(row 1 'lone moved')"
check "dropping reads less" awk "BEGIN { exit !($(number 4 'lone dropped' distinct_experts) < $(number 4 masks distinct_experts)) }"
check "moving reads less" awk "BEGIN { exit !($(number 4 'lone moved' distinct_experts) < $(number 4 masks distinct_experts)) }"

expect 0 "lone dropped" bench batch --model base --data data.h5 --batch 2 --rows 4 --sequence 16 --lone-share 0.4
expect 2 "give --model DIR and --data FILE" bench batch --model base
expect 2 "--lone-share 0" bench batch --model base --data data.h5 --lone-share 0
expect 2 "--sequence 65: the model has 64 positions" bench batch --model base --data data.h5 --sequence 65
expect 5 "no.h5" bench batch --model base --data no.h5 --sequence 16

# The same rule when generating.
expect 0 "\"avg_active\":0," generate --model masked --ids 1,2 --lone drop --json --max-new-tokens 3 --chunk 1
expect 2 "expected keep, drop or move" generate --model masked --ids 1,2 --lone most
finish
