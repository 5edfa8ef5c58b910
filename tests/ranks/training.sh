# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # "here" comes from job.sh, "code" goes to the tests
# Sourced after job.sh by the tests that disturb a training job. The tests work in $folder.
# shellcheck source=tests/cli/tiny.sh
. "$here/../cli/tiny.sh"
"$beam" preprocess text.txt --out data.h5 --separator '<end>' >/dev/null

# Everything trains, so that bits of all kinds are compared. Eight micro-batches a step at any number of ranks, and
# more steps than any test waits for. configure NAME RANKS
configure() {
    cat >"$1.yaml" <<YAML
model_name_or_path: random:config.json
dataset: data.h5
trainable: all
cutoff_len: 32
per_device_train_batch_size: 1
gradient_accumulation_steps: $((8 / $2))
learning_rate: 0.01
max_steps: 100000
save_steps: 10
save_total_limit: 1000
logging_steps: 1000
output_dir: $1
YAML
}

# newest RUN: the step of the newest complete checkpoint; 0 if there is none.
newest() {
    local manifest step=0
    for manifest in "$1"/checkpoint-*[0-9]/manifest.json; do # in order of steps: the names have leading zeros
        [ ! -e "$manifest" ] || step=${manifest%/*} step=${step##*-}
    done
    echo $((10#$step))
}

checkpoint() {
    printf '%s/checkpoint-%06d' "$1" "$2"
}

# await SECONDS COMMAND...: until it succeeds; fails after so long.
await() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}

has_reached() {
    [ "$(newest "$1")" -ge "$2" ]
}

gone() {
    ! kill -0 "$1" 2>/dev/null
}

# ends PID: within 15 s of now; its exit code in $code.
ends() {
    code=0
    if await 15 gone "$1"; then
        wait "$1" || code=$?
    else
        fail "still running after 15 s"
        kill -9 "$1"
        wait "$1" || true
    fi
}

# state RUN STEP: what must be the same of two checkpoints of a step, beside their bytes.
state() {
    sed -n '/"state"/,/}/p' "$(checkpoint "$1" "$2")/manifest.json" | grep -v '"seconds"'
}

# same_as_undisturbed RUN STEP: parameters, moments and counters are those of one rank that nobody disturbed.
same_as_undisturbed() {
    local alone=$1-alone
    rm -rf "$alone"
    configure "$alone" 1
    "$beam" train "$alone.yaml" --stop-after "$2" 2>"$alone.log" || [ $? -eq 7 ] || { cat "$alone.log"; exit 1; }
    check "$1: state of step $2" test "$(state "$1" "$2")" = "$(state "$alone" "$2")"
    check "$1: parameters and moments of step $2" \
        cmp "$(checkpoint "$1" "$2")/state.h5" "$(checkpoint "$alone" "$2")/state.h5"
}

# intact RUN: the newest checkpoint is what its manifest says.
intact() {
    check "$1: its newest checkpoint is intact" "$beam" inspect "$(checkpoint "$1" "$(newest "$1")")" --verify
}
