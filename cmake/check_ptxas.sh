#!/bin/sh
# Fails if a kernel spills registers, keeps a stack frame, or makes ptxas warn.
# Usage: check_ptxas.sh FOLDER_OF_LOGS
set -u
if ! ls "$1"/*.ptxas >/dev/null 2>&1; then
    echo "skipped: nothing was compiled with nvcc"
    exit 77
fi
awk '
    /Compiling entry function/ { kernel = $0; sub(/^.*function ./, "", kernel); sub(/. for.*$/, "", kernel); kernels++ }
    /warning|C75[0-9][0-9]/ { print FILENAME ": " $0; bad++ }
    /bytes stack frame/ && $1 + $5 + $9 > 0 { print FILENAME ": " kernel ": " $0; bad++ }
    /Used [0-9]+ registers/ { sub(/^.*Used /, ""); if ($1 + 0 > most) { most = $1 + 0; by = kernel } }
    END {
        printf "%d kernels, at most %d registers (%s), %d complaints\n", kernels, most, by, bad
        exit kernels == 0 || bad > 0
    }
' "$1"/*.ptxas
