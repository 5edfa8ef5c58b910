#!/bin/sh
# beam doctor: names every library and a measured speed.
set -eu
. "$(dirname "$0")/expect.sh"

expect 0 "beam " doctor
for word in processor memory disk sgemm openblas hdf5 zstd jansson openssl libfyaml cuda; do
    check "a line for $word" grep -q "^$word " "$folder/out"
done
expect 0 "\"hdf5\": \"" doctor --json
check "a positive speed" grep -qE '"sgemm_gflops": (0\.[1-9]|[1-9])' "$folder/out"
check "one line of JSON" test "$(wc -l <"$folder/out")" -eq 1
env PATH=/nonexistent "$beam" doctor >"$folder/out"
check "the apt line of a missing program" grep -q "apt-get install -y hdf5-tools" "$folder/out"
finish
