#!/bin/sh
# Fuzzes the parsers with libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer, one target after the other, on
# one core. Needs clang.
#
#     scripts/fuzz.sh [--runs N | --minutes N] [TARGET...]     5,000,000 executions of every target, unless given
#     scripts/fuzz.sh --table [TARGET...]                      what the runs so far came to, also those still running
#
# build/fuzz holds the programs, corpus/TARGET what was found interesting (a later run starts from it), logs/TARGET.log
# and found/TARGET-* the inputs that broke something. Exits with 1 if there are any.
set -eu
cd "$(dirname "$0")/.."
all="safetensors index config yaml ids text tokens hdf5 manifest results"
limit="-runs=5000000"
table_only=no

while [ $# -gt 0 ]; do
    case $1 in
    --runs) limit="-runs=$2" && shift 2 ;;
    --minutes) limit="-max_total_time=$((60 * $2))" && shift 2 ;;
    --table) table_only=yes && shift ;;
    -*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    *) break ;;
    esac
done
targets=${*:-$all}

build() {
    programs=""
    for target in $targets; do
        programs="$programs ${target}_fuzz fuzz_$target"
    done
    cmake -S . -B build/fuzz -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang \
        -DCMAKE_CXX_COMPILER=clang++ -DBEAM_CUDA=OFF -DBEAM_FUZZ=ON -DBEAM_SANITIZE=address,undefined,fuzzer-no-link >/dev/null
    # shellcheck disable=SC2086 # a list
    cmake --build build/fuzz --target $programs >/dev/null
}

# fuzz TARGET. libhdf5 leaks some bytes of each damaged file, so that libFuzzer would look for leaks after every one:
# there it looks at the end only. An input may take five minutes: libFuzzer takes the time of day, and a busy machine
# may not run it for a minute.
fuzz() {
    leaks=1
    [ "$1" != hdf5 ] || leaks=0
    export ASAN_OPTIONS=quarantine_size_mb=16 LSAN_OPTIONS=suppressions=tests/fuzz/leaks.txt:print_suppressions=0
    mkdir -p "build/fuzz/corpus/$1" build/fuzz/logs build/fuzz/found
    "build/fuzz/tests/fuzz/fuzz_$1" --write "build/fuzz/corpus/$1"
    "build/fuzz/tests/fuzz/$1_fuzz" "$limit" -detect_leaks=$leaks -max_len=4096 -rss_limit_mb=2048 \
        -timeout=300 -report_slow_units=300 -artifact_prefix="build/fuzz/found/$1-" "build/fuzz/corpus/$1" \
        >"build/fuzz/logs/$1.log" 2>&1 ||
        echo "$1: stopped; see build/fuzz/logs/$1.log" >&2
}

# table: of each target the last line of its log that counts.
table() {
    printf '%-12s %12s %8s %9s %9s %8s\n' target executions exec/s coverage peak-RSS broken
    for target in $targets; do
        [ -f "build/fuzz/logs/$target.log" ] || continue
        found=$(find build/fuzz/found -name "$target-*" | wc -l)
        grep -E '^#[0-9]+' "build/fuzz/logs/$target.log" | tail -n 1 | tr '#' ' ' |
            awk -v name="$target" -v found="$found" '{
                for (i = 2; i < NF; i++) {
                    if ($i == "exec/s:") rate = $(i + 1)
                    if ($i == "rss:") rss = $(i + 1)
                    if ($i == "cov:") cov = $(i + 1)
                }
                printf "%-12s %12d %8d %9d %9s %8d\n", name, $1, rate, cov, rss, found
            }'
    done
    [ -z "$(find build/fuzz/found -type f 2>/dev/null)" ]
}

if [ "$table_only" = no ]; then
    build
    for target in $targets; do
        fuzz "$target"
    done
fi
table
