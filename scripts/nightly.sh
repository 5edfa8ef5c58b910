#!/bin/bash
# The long versions of everything: all tests, all of them again under sanitizers, every script of scripts/faults at
# full size, the fuzzers. Hours; goes on after a failure and ends with a list of what failed and how to repeat it.
#
#     scripts/nightly.sh [STAGE...]      cpu asan simt faults fuzz (all)
#
# build/nightly/STAGE*.log holds what each stage printed. Where cores are shared, start it with nice.
set -u
cd "$(dirname "$0")/.." || exit
stages=${*:-cpu asan simt faults fuzz}
logs=build/nightly
mkdir -p "$logs"
failed="" began=$(date +%s)

# stage NAME COMMAND...: runs it, keeps what it prints, and how to repeat it if it fails.
stage() {
    local name=$1 code=0 start=$SECONDS repeat
    shift
    repeat=$*
    [ "$1" != suite ] || repeat="ctest --test-dir build/$2 --rerun-failed --output-on-failure"
    printf '== %s: %s\n' "$name" "$*"
    "$@" >"$logs/$name.log" 2>&1 || code=$?
    case $code in
    0) printf '   ok, %d s\n' $((SECONDS - start)) ;;
    77) printf '   %s\n' "$(tail -n 1 "$logs/$name.log")" ;;
    *)
        printf '   FAILED (%d), %d s: %s\n' $code $((SECONDS - start)) "$logs/$name.log"
        grep -hE '\*\*\*|BROKEN|^failed:|SEED=|ERROR: ' "$logs/$name.log" | tail -n 20 | sed 's/^/     /'
        failed="$failed
  $name: $repeat"
        ;;
    esac
}

# Two tests at a time would disturb those that measure and those that use all cores.
suite() {
    cmake --preset "$1" && cmake --build --preset "$1" && ctest --test-dir "build/$1" --output-on-failure "${@:2}"
}

for name in $stages; do
    case $name in
    cpu) stage cpu suite cpu -LE faults ;; # these come at full size
    asan)
        export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1
        stage asan suite asan -LE 'faults|^simt$' --timeout 1800
        ;;
    simt) stage simt suite asan -L simt --timeout 7200 ;;
    faults)
        stage build suite cpu -N
        for script in scripts/faults/*.sh; do
            [ "$script" = scripts/faults/common.sh ] || stage "faults.$(basename "$script" .sh)" "$script" build/cpu/cli/beam
        done
        ;;
    fuzz)
        if command -v clang >/dev/null; then
            stage fuzz scripts/fuzz.sh
        else
            echo "== fuzz: skipped: apt-get install -y clang"
        fi
        ;;
    *)
        sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
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
