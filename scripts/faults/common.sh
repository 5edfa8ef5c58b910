# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # failures, folder and beam come from expect.sh; some values go to the scripts
# Sourced by the scripts of this folder, which break training runs and exports and count what is lost:
#
#   NAME.sh [--quick] [BEAM]      BEAM: the program (build/cpu/cli/beam)
#
# Each prints a table of what it did and ends with 1 if a promise of docs/reliability.md was broken, with 77 where
# something it needs is missing. --quick: seconds, for CI. SEED repeats the random moments of an earlier call, as far
# as the machine lets them be repeated. KEEP=1 keeps the folder of a failure.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/tests/ranks
quick=false
[ "${1:-}" != --quick ] || { quick=true; shift; }
set -- "$(realpath "${1:-$root/build/cpu/cli/beam}")"
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
seed=${SEED:-$((RANDOM + 1))}
RANDOM=$seed
# shellcheck source=tests/cli/expect.sh
. "$root/tests/cli/expect.sh"
# shellcheck source=tests/ranks/training.sh
. "$root/tests/ranks/training.sh"
started=$SECONDS

end() {
    # shellcheck disable=SC2046
    kill -9 $(jobs -p) 2>/dev/null || true
    while read -r mounted; do umount "$mounted"; done < <(awk -v f="$folder/" 'index($2, f) == 1 {print $2}' /proc/mounts)
    if [ "$failures" -gt 0 ] && [ -n "${KEEP:-}" ]; then
        echo "kept: $folder"
    else
        rm -rf "$folder"
    fi
}
trap end EXIT

fail() {
    echo "BROKEN: $*"
    failures=$((failures + 1))
}

skip() {
    echo "skipped: $*"
    exit 77
}

has_mpi() {
    command -v mpirun >/dev/null && ldd "$beam" | grep -q libmpi
}

needs_mpi() {
    has_mpi || skip "no MPI: apt-get install -y openmpi-bin libopenmpi-dev"
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
}

# pick QUICK FULL: how many.
pick() {
    if $quick; then echo "$1"; else echo "$2"; fi
}

# row WHAT FIGURE: a line of the table.
row() {
    printf '  %-66s %s\n' "$1" "$2"
}

# none WHAT COUNT: a line whose figure must be 0.
none() {
    row "$1" "$2"
    [ "$2" -eq 0 ] || fail "$1: $2"
}

# all WHAT COUNT OF: a line whose count must be complete.
all() {
    row "$1" "$2 of $3"
    [ "$2" -eq "$3" ] || fail "$1: $2 of $3"
}

# steps_like RUN STEP LIKE: parameters, moments, controller and counters of a step are those of the run LIKE.
steps_like() {
    cmp -s "$(checkpoint "$1" "$2")/state.h5" "$(checkpoint "$3" "$2")/state.h5" &&
        [ "$(state "$1" "$2")" = "$(state "$3" "$2")" ]
}

# losses RUN: metrics.jsonl without its times.
losses() {
    sed 's/,"tokens_per_s".*"tokens"/,"tokens"/' "$1/metrics.jsonl"
}

# listens PID: it is beam (no longer the shell that starts it) and handles SIGUSR1 (bit 9 of the caught signals), so
# the run has begun.
listens() {
    local caught
    [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$(basename "$beam")" ] || return 1
    caught=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null)
    [ -n "$caught" ] && [ $((0x$caught & 512)) -ne 0 ]
}

# trainers NAME: the processes that train NAME.yaml in this folder.
trainers() {
    pgrep -f "train $1.yaml" | while read -r pid; do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$(basename "$beam")" ] ||
            [ "$(readlink "/proc/$pid/cwd")" != "$(pwd -P)" ] || echo "$pid"
    done
}

# doze MOST: sleeps for a random time below MOST milliseconds.
doze() {
    sleep "$(printf '%d.%03d' $(($1 > 1000 ? RANDOM % ($1 / 1000) : 0)) $((RANDOM % ($1 > 1000 ? 1000 : $1))))"
}

# verdict: the last line and the exit code.
verdict() {
    printf '%s: %s, %d s, SEED=%s\n' "$(basename "$0")" "$([ "$failures" -eq 0 ] && echo kept || echo BROKEN)" \
        $((SECONDS - started)) "$seed"
    [ "$failures" -eq 0 ]
}
