#!/bin/sh
# Starts the ranks on the machines of a hostfile, one line each: "node1 slots=8", slots being ranks (GPUs).
#
#   scripts/launch/hostfile.sh HOSTFILE beam train run.yaml [key=value ...]
#
# Every host needs ssh without a password from this one, and beam, the model and the dataset under the same paths;
# output_dir is only looked at on the first host. BEAM_NET and BEAM_IB choose the network (network.sh).
set -eu
# shellcheck source=scripts/launch/network.sh
. "$(dirname "$0")/network.sh"

if [ $# -lt 2 ]; then
    echo "usage: hostfile.sh HOSTFILE COMMAND ..." >&2
    exit 2
fi
hosts=$1
shift

# What ssh does not hand on by itself; OMPI_MCA_... mpirun sees to.
for variable in $(env | sed -nE 's/^((OMP|NCCL|UCX|BEAM)_[A-Z0-9_]*)=.*/\1/p'); do
    set -- -x "$variable" "$@"
done
# Threads: OMP_NUM_THREADS, or what the binding leaves each rank (`beam doctor` shows both).
exec mpirun --hostfile "$hosts" --map-by slot --bind-to "${BEAM_BIND:-numa}" "$@"
