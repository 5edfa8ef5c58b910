#!/bin/bash
# beam doctor under mpirun: one table of all ranks, a checked exchange, and what it warns of.
set -eu
. "$(dirname "$0")/job.sh"
cores=$(env -u OMP_NUM_THREADS nproc)

ranks 2 "$beam" doctor
says 0 "2 ranks on 1 host, over mpi"
check "one table" test "$(grep -c '^rank  host ' "$folder/out")" -eq 1
check "a line of each rank" test "$(grep -cE "^   [01]  $(hostname | cut -c 1-16) .* [01]" "$folder/out")" -eq 2
check "no warning where every thread has a core" test "$(grep -c ^warning "$folder/out")" -eq "$((cores < 2))"
for size in latency 1.05 4.19 16.78 67.11; do
    check "a line for $size" grep -q "^$size " "$folder/out"
done

OMP_NUM_THREADS=$cores ranks 3 "$beam" doctor --json
says 0 '"transport":"mpi"'
check "one line of JSON" test "$(wc -l <"$folder/out")" -eq 1
check "every rank" test "$(grep -o '"clock_ahead_s"' "$folder/out" | wc -l)" -eq 3
check "too many threads" grep -q "is oversubscribed: $((3 * cores)) threads of 3 ranks share $cores core" "$folder/out"

# Rank 1 is another build: one byte more.
cp "$beam" "$folder/other"
printf x >>"$folder/other"
cat >"$folder/mixed" <<SH
#!/bin/sh
[ "\$OMPI_COMM_WORLD_RANK" = 0 ] && exec "$beam" doctor
exec "$folder/other" doctor
SH
chmod +x "$folder/mixed"
ranks 2 "$folder/mixed"
says 0 "rank 1 on $(hostname) runs another build of beam than rank 0"
finish
