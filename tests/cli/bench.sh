#!/bin/sh
# beam bench train: whole steps, and a mixture layer alone.
set -eu
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"

# A row of the JSON but for its update.
row='"trainable":"[a-z]*","active":[0-9]*,"tokens_per_s":[1-9][^,]*,"forward_s":[0-9.e-]*,"backward_s":[0-9.e-]*'
expect 0 "one mixture layer; D 16, 4 experts of width 8, K 2; 2 rows of 16 tokens" \
    bench train --layer --model random:config.json --rows 2 --sequence 16 --steps 2
expect 0 "\"what\":\"layer\"" \
    bench train --layer --model random:config.json --rows 2 --sequence 16 --steps 2 --json
check "two scopes, two numbers of experts, no update" test "$(grep -oE "$row,\"update_s\":0," out | wc -l)" -eq 4
expect 0 "\"trainable\":\"masks\",\"active\":2," \
    bench train --model random:config.json --rows 2 --sequence 16 --steps 2 --json
check "with an update" test "$(grep -oE "$row,\"update_s\":[0-9.e-]*[1-9]" out | wc -l)" -eq 4
expect 0 "\"what\":\"model\"" bench train --model random:config.json --rows 1 --sequence 8 --steps 1 --json
expect 2 "nothing to recompute" bench train --layer --gradient-checkpointing
expect 2 "1 to 64" bench train --steps 65
expect 2 "there are" bench nothing
finish
