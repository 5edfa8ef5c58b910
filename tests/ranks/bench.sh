#!/bin/bash
# beam bench comm: bytes beside the least possible, and arithmetic from them.
set -eu
. "$(dirname "$0")/job.sh"

# Gates of a layer: a product with x [32 experts x 512], a bias, a scale and a rank bias; two layers and padding.
ranks 3 "$beam" bench comm --steps 2 --json
says 0 '"of_least_possible":1'
check "of the gradients" grep -qE '"gradient_bytes":13[0-9]{4},' "$folder/out"
check "one line" test "$(wc -l <"$folder/out")" -eq 1
check "nothing is calculated unasked" test "$(grep -c arithmetic "$folder/out")" -eq 0

ranks 2 "$beam" bench comm --trainable all --limit-mib 8 --steps 2
says 0 "8.39 MB, a part"
check "hidden and not" test "$(grep -cE '^  sum(, hidden)? ' "$folder/out")" -eq 2

# 1 GB/s and 100 s a step: the share is bytes / 1e9 / (that + 100).
expect 0 '"ranks":4,"link_gb_per_s":1,"sent_bytes":197376,"communication_s":0.000197376,"computation_s":100,' \
    bench comm --link-gbs 1 --ranks 4 --step-seconds 100 --json
expect 0 "measured: nothing" bench comm
expect 0 "tokens per rank" bench comm --link-gbs 1 --ranks 2 --tflops 1
expect 2 "--link-gbs is needed" bench comm --ranks 4
expect 2 "keep one" bench comm --link-gbs 1 --tflops 1 --step-seconds 1
expect 2 "expected masks, masks+router or all" bench comm --trainable some
expect 2 "unknown option" bench comm --lnk-gbs 3
ranks 2 "$beam" bench comm --model nowhere
says 4 "rank 0: nowhere: no such folder"
check "said once" test "$(grep -c 'nowhere: no such' "$folder/err")" -eq 1
finish
