#!/bin/sh
# How a process finds out that it is one of several, and how one ends them all.
# Usage: launch.sh PROGRAM [MPIRUN ARGUMENTS...]; HAVE_MPI=0: the program was built without MPI.
set -eu
program=$1
shift

fail() {
    echo "launch: $*"
    exit 1
}
expect() { # CODE TEXT COMMAND...: this exit code, and this text in what is printed
    code=$1 text=$2
    shift 2
    got=0
    out=$("$@" 2>&1) || got=$?
    [ "$got" = "$code" ] || fail "$*: exit code $got, not $code: $out"
    case $out in
    *"$text"*) ;;
    *) fail "$*: no \"$text\" in: $out" ;;
    esac
}

unset OMPI_COMM_WORLD_SIZE PMI_SIZE PMIX_RANK SLURM_STEP_NUM_TASKS SLURM_NTASKS
expect 0 "rank 0 of 1 over self" "$program"
expect 0 "rank 0 of 1 over self" env SLURM_NTASKS=4 "$program"
expect 0 "rank 0 of 1 over self" env OMPI_COMM_WORLD_SIZE=1 SLURM_STEP_NUM_TASKS=4 "$program"
expect 9 "" "$program" 9
if [ "${HAVE_MPI:-1}" = 0 ]; then
    for launched in OMPI_COMM_WORLD_SIZE PMI_SIZE SLURM_STEP_NUM_TASKS; do
        expect 70 "one of 3 ranks, but this build has no MPI" env $launched=3 "$program"
    done
    exit 0
fi
expect 70 "one of 3 ranks, but MPI sees 1" env PMI_SIZE=3 "$program"
expect 0 "rank 1 of 2 over mpi" "$@" -n 2 "$program"
started=$(date +%s)
expect 42 "" "$@" -n 3 "$program" 42
[ $(($(date +%s) - started)) -le 15 ] || fail "ending three ranks took more than 15 s"
