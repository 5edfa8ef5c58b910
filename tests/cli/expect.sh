# shellcheck shell=sh
# Sourced by the tests of the command line. The first argument of a test is the program.
beam=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

# expect CODE TEXT ARGUMENT...: runs beam; it must exit with CODE and print TEXT (a fixed string) on either stream.
expect() {
    code=$1 text=$2
    shift 2
    "$beam" "$@" >"$folder/out" 2>"$folder/err" && got=0 || got=$?
    if [ "$got" -ne "$code" ]; then
        echo "beam $*: exit code $got instead of $code"
        cat "$folder/err"
        failures=$((failures + 1))
    elif ! grep -qF -- "$text" "$folder/out" "$folder/err"; then
        echo "beam $*: does not say \"$text\" but:"
        cat "$folder/out" "$folder/err"
        failures=$((failures + 1))
    fi
}

# check WHAT COMMAND...: the command must succeed.
check() {
    what=$1
    shift
    if ! "$@" >"$folder/check" 2>&1; then
        echo "failed: $what"
        cat "$folder/check"
        failures=$((failures + 1))
    fi
}

finish() {
    [ "$failures" -eq 0 ] || exit 1
}
