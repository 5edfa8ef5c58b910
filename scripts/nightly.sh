#!/bin/bash
# The long versions of everything: all tests, all of them again under sanitizers, those with threads under
# ThreadSanitizer, every script of scripts/faults at full size, the fuzzers. Hours; goes on after a failure and ends
# with a list of what failed and how to repeat it.
#
#     scripts/nightly.sh [--quick] [STAGE...]      cpu asan simt tsan faults fuzz (all)
#
# --quick tries the stages themselves: every tenth test, the short fault scripts, 1,000 runs of each fuzzer.
# build/nightly/STAGE*.log holds what each stage printed. Where cores are shared, start it with nice.
set -u
cd "$(dirname "$0")/.." || exit
part=() short=() fuzz=()
if [ "${1:-}" = --quick ]; then
    part=(-I ',,10') short=(--quick) fuzz=(--runs 1000)
    shift
fi
stages=${*:-cpu asan simt tsan faults fuzz}
logs=build/nightly
mkdir -p "$logs"
failed="" began=$(date +%s)

# stage NAME COMMAND...: runs it, keeps what it prints, and how to repeat it if it fails.
stage() {
    local name=$1 code=0 start=$SECONDS
    shift
    printf '== %s: %s\n' "$name" "$*"
    "$@" >"$logs/$name.log" 2>&1 || code=$?
    case $code in
    0) printf '   ok, %d s\n' $((SECONDS - start)) ;;
    77) printf '   %s\n' "$(tail -n 1 "$logs/$name.log")" ;;
    *)
        printf '   FAILED (%d), %d s: %s\n' $code $((SECONDS - start)) "$logs/$name.log"
        grep -hE '\*\*\*|BROKEN|^failed:|SEED=|ERROR: |WARNING: Thread' "$logs/$name.log" | tail -n 20 | sed 's/^/     /'
        failed="$failed
  $name: $(repeat "$name" "$@")"
        ;;
    esac
}

# repeat NAME COMMAND...: what repeats a stage that failed; of a suite only the tests that did, if it came to tests.
repeat() {
    local command="${*:2}" tests
    if [ "$2" = suite ]; then
        tests=$(sed -n 's/^\t *[0-9]* - \([^ ]*\) (.*/\1/p' "$logs/$1.log" | paste -sd '|')
        command="cmake --preset $3 && cmake --build --preset $3"
        [ -z "$tests" ] || command="$command && ctest $4 $5 --output-on-failure -R '^($tests)\$'"
    fi
    echo "$command"
}

# suite PRESET ARGUMENT...: builds the preset and runs ctest. Two tests at a time would disturb those that measure and
# those that use all cores.
suite() {
    cmake --preset "$1" && cmake --build --preset "$1" && ctest "${@:2}" "${part[@]}" --output-on-failure
}

# needs STAGE PACKAGE...: what a stage with clang needs; without them it is left out.
needs() {
    if scripts/install_deps.sh "${@:2}" >"$logs/$1.packages.log" 2>&1 || command -v clang >/dev/null; then
        return 0
    fi
    echo "== $1: skipped: apt-get install -y ${*:2}"
    return 1
}

for name in $stages; do
    case $name in
    cpu) stage cpu suite cpu --test-dir build/cpu -LE faults ;; # these come at full size
    asan)
        export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1
        stage asan suite asan --test-dir build/asan -LE 'faults|^simt$'
        ;;
    simt) stage simt suite asan --test-dir build/asan -L simt ;;
    tsan) needs tsan clang libclang-rt-dev libomp-dev llvm && stage tsan suite tsan --preset tsan ;;
    faults)
        stage build suite cpu --test-dir build/cpu -N
        for script in scripts/faults/*.sh; do
            [ "$script" = scripts/faults/common.sh ] ||
                stage "faults.$(basename "$script" .sh)" "$script" "${short[@]}" build/cpu/cli/beam
        done
        ;;
    fuzz) needs fuzz clang libclang-rt-dev && stage fuzz scripts/fuzz.sh "${fuzz[@]}" ;;
    *)
        sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
done

printf '== %d s\n' $(($(date +%s) - began))
if [ -n "$failed" ]; then
    printf 'failed; each of these repeats it (scripts/faults with SEED=... in front, as its log says):%s\n' "$failed"
    exit 1
fi
echo "all that ran has passed"
