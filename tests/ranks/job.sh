# shellcheck shell=bash
# Sourced by the tests of several ranks, which take the program and an mpirun as arguments:
#
#   test.sh BEAM mpirun --oversubscribe --bind-to none
#
# Exits with 77 (skipped) without an mpirun, or where BEAM was built without MPI (HAVE_MPI=0).
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cli/expect.sh
. "$here/../cli/expect.sh"
shift
mpirun=("$@")
if [ "${HAVE_MPI:-1}" = 0 ] || ! command -v "${mpirun[0]:-none}" >/dev/null; then
    echo "skipped: no MPI"
    exit 77
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
# In place of the command-line tests' own: nothing that a test started outlives it.
# shellcheck disable=SC2046
trap 'kill -9 $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT

fail() {
    echo "failed: $*"
    failures=$((failures + 1))
}

# ranks N COMMAND...: runs it as N ranks; output in $folder/out and err, exit code in $code.
ranks() {
    local n=$1
    shift
    code=0
    timeout -k 5 60 "${mpirun[@]}" -n "$n" "$@" >"$folder/out" 2>"$folder/err" || code=$?
}

# says CODE TEXT: what the last `ranks` did.
says() {
    if [ "$code" -ne "$1" ]; then
        fail "exit code $code instead of $1"
        cat "$folder/out" "$folder/err"
    elif ! grep -qF -- "$2" "$folder/out" "$folder/err"; then
        fail "does not say \"$2\" but:"
        cat "$folder/out" "$folder/err"
    fi
}
