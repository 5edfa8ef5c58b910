#!/bin/bash
# Training with 2 and with 4 ranks: one of them is killed at a random moment of steps and saves. The job ends within
# 15 seconds and with a failure, its last checkpoint is whole, and the same command goes on, to the bits of one rank
# that nobody disturbed.
set -eu
. "$(dirname "$0")/common.sh"
needs_mpi
mpirun=(mpirun --oversubscribe --bind-to none)

# A run per number of ranks, killed again and again; every few kills its bits are compared.
killed() {
    local ranks=$1 kills=$2 every=$3 run=killed-$1 k job victim last=0 lost=0 code_ok=0 compared=0 same=0 slowest=0 began end
    configure "$run" "$ranks"
    sed -i 's/^save_steps.*/save_steps: 2/' "$run.yaml"
    for ((k = 1; k <= kills; k++)); do
        "${mpirun[@]}" -n "$ranks" "$beam" train "$run.yaml" >out 2>err &
        job=$!
        if ! await 60 has_reached "$run" $((last + 2)); then
            fail "$ranks ranks: no step within 60 s"
            cat err
            break
        fi
        doze 150
        victim=$(pgrep -P $job -x "$(basename "$beam")" | sed -n "$((1 + RANDOM % ranks))p")
        last=$(newest "$run")
        kill -9 "$victim"
        began=$(date +%s%3N)
        { ends $job; } 2>/dev/null
        end=$(($(date +%s%3N) - began))
        [ $end -le $slowest ] || slowest=$end
        [ "$code" -eq 0 ] || [ "$code" -eq 7 ] || [ $end -ge 15000 ] || code_ok=$((code_ok + 1))
        await 5 gone_all "$run" || fail "$ranks ranks: a process is left"
        if [ "$(newest "$run")" -lt "$last" ] ||
            ! "$beam" inspect "$(checkpoint "$run" "$(newest "$run")")" --verify >/dev/null; then
            lost=$((lost + 1))
        fi
        last=$(newest "$run")
        [ $((k % every)) -eq 0 ] || continue
        "${mpirun[@]}" -n "$ranks" "$beam" train "$run.yaml" --stop-after 3 >out 2>err || [ $? -eq 7 ] || fail "$(cat err)"
        compared=$((compared + 1))
        last=$(newest "$run")
        "$beam" train "alone-$ranks.yaml" --stop-after $((last - $(newest "alone-$ranks"))) 2>err || [ $? -eq 7 ] || cat err
        ! steps_like "$run" "$last" "alone-$ranks" || same=$((same + 1))
    done
    all "$ranks ranks: killed jobs that ended with a failure within 15 s" $code_ok "$kills"
    row "$ranks ranks: the slowest end" "$slowest ms"
    none "$ranks ranks: checkpoints lost" "$lost"
    all "$ranks ranks: resumed, with the bits of one undisturbed rank" $same $compared
}

gone_all() {
    [ -z "$(trainers "$1")" ]
}

for ranks in 2 4; do
    configure alone-$ranks 1
    sed -i 's/^save_steps.*/save_steps: 0/' alone-$ranks.yaml
    killed $ranks "$(pick 2 50)" "$(pick 2 5)"
done
verdict
