#!/bin/bash
# A rank is killed in the middle of training: the job ends soon, and what it left goes on to the same bits as a run
# that nobody disturbed. killed.sh RANKS BEAM MPIRUN...
set -eu
ranks=$1
shift
. "$(dirname "$0")/job.sh"
. "$here/training.sh"

# nobody RUN: no process of its jobs is left.
nobody() {
    ! pgrep -f "train $folder/$1.yaml" >/dev/null
}

# kill_one WHICH: trains, and kills the WHICH-th process of the job at some moment after its second checkpoint.
kill_one() {
    local run=killed-$1 victim
    configure "$run" "$ranks"
    "${mpirun[@]}" -n "$ranks" "$beam" train "$folder/$run.yaml" >"$run.log" 2>&1 &
    local job=$!
    if ! await 30 has_reached "$run" 20; then
        fail "$run did not get to step 20"
        cat "$run.log"
        return
    fi
    sleep "0.0$((RANDOM % 10))"
    victim=$(pgrep -P $job -x beam | sed -n "$(($1 + 1))p")
    kill -9 "$victim"
    ends $job
    check "$run: exit code $code is a failure" test "$code" -ne 0 -a "$code" -ne 7
    check "$run: no process is left" await 5 nobody "$run" # mpirun ends a moment before what it has killed
    intact "$run"
    ranks "$ranks" "$beam" train "$run.yaml" --stop-after 15
    says 7 "resumed from $(checkpoint "$run" $(($(newest "$run") - 15)))"
    same_as_undisturbed "$run" "$(newest "$run")"
}

kill_one 0
kill_one $((1 + RANDOM % (ranks - 1)))
finish
