#!/bin/sh
# Runs a compiler, keeps what ptxas says in a file and shows the rest.
# Usage: nvcc.sh PTXAS_LOG COMPILER ARGUMENT...
set -u
log=$1
shift
"$@" 2>"$log.all"
status=$?
grep -v '^ptxas info\|^    [0-9]* bytes stack frame' "$log.all" >&2
mv "$log.all" "$log"
exit $status
