#!/bin/sh
# Starts one rank per GPU, or a given number, on this machine; cores are shared out evenly.
#
#   scripts/launch/one_node.sh [-n RANKS] beam train run.yaml [key=value ...]
#
# OMP_NUM_THREADS, if set, is taken as it is. See docs/ranks.md.
set -eu

ranks=$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU' || true)
if [ "${1:-}" = -n ]; then
    ranks=${2:-}
    shift 2
fi
case $ranks in
'' | 0* | *[!0-9]*)
    echo "one_node: no GPU here; say how many ranks: one_node.sh -n RANKS beam train run.yaml" >&2
    exit 2
    ;;
esac
if [ $# -eq 0 ]; then
    echo "usage: one_node.sh [-n RANKS] COMMAND ..." >&2
    exit 2
fi

# Cores, not hardware threads, and no more than this process may use. (nproc obeys OMP_NUM_THREADS otherwise.)
cores=$(lscpu -p=CORE,SOCKET | grep -v '^#' | sort -u | wc -l)
allowed=$(env -u OMP_NUM_THREADS nproc)
[ "$cores" -le "$allowed" ] || cores=$allowed

if [ "$ranks" -le "$cores" ]; then
    threads=${OMP_NUM_THREADS:-$((cores / ranks))}
    set -- --bind-to core --map-by "slot:PE=$((cores / ranks))" "$@"
else # as in a test: ranks take turns, so none may spin while it waits
    threads=${OMP_NUM_THREADS:-1}
    export OMPI_MCA_mpi_yield_when_idle=1 OMP_WAIT_POLICY=passive
    set -- --oversubscribe --bind-to none "$@"
fi
export OMP_NUM_THREADS="$threads" NCCL_DEBUG="${NCCL_DEBUG:-WARN}"
exec mpirun -n "$ranks" "$@"
