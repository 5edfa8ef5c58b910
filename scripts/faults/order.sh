#!/bin/bash
# The order of samples over three epochs: with 1, 2 and 4 ranks, and when the run is stopped after every step and goes
# on with another number of ranks, each micro-batch holds the same rows. BEAM_LOG=debug has every rank log a hash of
# the tokens of its micro-batches.
set -eu
. "$(dirname "$0")/common.sh"
needs_mpi
points=$(pick 3 30)
worlds=(1 2 4)

# as RANKS RUN OPTION...: trains RUN with so many ranks; eight micro-batches a step at any number.
as() {
    local ranks=$1 run=$2 launcher=()
    shift 2
    [ "$ranks" -eq 1 ] || launcher=(mpirun --oversubscribe --bind-to none -n "$ranks")
    configure "$run" "$ranks"
    sed -i 's/^save_steps.*/save_steps: 0/; s/^save_total_limit.*/save_total_limit: 2/' "$run.yaml"
    BEAM_LOG=debug "${launcher[@]}" "$beam" train "$run.yaml" "${keys[@]}" "$@" >out 2>err || [ $? -eq 7 ] || {
        cat err
        fail "$run with $ranks ranks"
    }
}

# order RUN: which rows each micro-batch held, in order.
order() {
    sed -n 's/.*debug: rows from //p' "$1"/log.*.txt | sort -n
}

# unlike RUN: 1 if the run's micro-batches are not the expected ones.
unlike() {
    order "$1" >found
    cmp -s found expected && echo 0 || echo 1
}

for i in $(seq "$(pick 20 84)"); do
    printf '%d is the number of this line, %d, %d\n<end>\n' "$i" "$i" "$i" # no two rows are alike
done >text.txt
rm data.h5
"$beam" preprocess text.txt --out data.h5 --separator '<end>' >/dev/null
keys=(num_train_epochs=3 max_steps=0)

as 1 one
rows=$(sed -n 's/.* \([0-9]*\) rows of .* per epoch.*/\1/p' err)
steps=$(newest one)
order one >expected
for epoch in 1 2 3; do
    check "epoch $epoch holds every row once" test \
        "$(sed -n "$(((epoch - 1) * rows + 1)),$((epoch * rows))p" expected | cut -d' ' -f2 | sort -u | wc -l)" -eq "$rows"
done
check "epochs have orders of their own" test "$(cut -d' ' -f2 expected | head -n "$rows")" != \
    "$(cut -d' ' -f2 expected | sed -n "$((rows + 1)),$((2 * rows))p")"
row "rows of an epoch, steps of three" "$rows, $steps"
row "order of samples, SHA-256" "$(sha256sum <expected | cut -c 1-16)"

wrong=0
for ranks in 2 4; do
    as $ranks "ranks-$ranks"
    wrong=$((wrong + $(unlike "ranks-$ranks")))
    check "$ranks ranks end with the same bits" steps_like "ranks-$ranks" "$steps" one
done
none "other orders with 2 and 4 ranks" $wrong

# Stopped after each of the first steps; ranks change every time, beginning with another number.
wrong=0 stops=0
for first in $(seq 0 "$(pick 0 2)"); do
    for ((at = 1; at <= points; at++)); do
        as "${worlds[(first + at) % 3]}" "stopped-$first" --stop-after 1
        stops=$((stops + 1))
    done
    as "${worlds[first]}" "stopped-$first"
    wrong=$((wrong + $(unlike "stopped-$first")))
    check "the stopped run ends with the same bits" steps_like "stopped-$first" "$steps" one
done
row "stops, each followed by another number of ranks" "$stops"
none "other orders among the stopped runs" $wrong
verdict
