#!/bin/sh
# beam man: every verb, option and key is in the pages; groff and mandoc, where they are, find nothing wrong.
set -eu
. "$(dirname "$0")/expect.sh"
"$beam" man >"$folder/beam.1"
"$beam" man --config >"$folder/beam.yaml.5"

for verb in $("$beam" help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p'); do
    case $verb in help | version) continue ;; esac
    check "$verb has a section" grep -q "^\.SS beam $verb" "$folder/beam.1"
    for option in $("$beam" "$verb" --help=words | cut -f 2 | sed 's/^--//; s/-/\\-/g'); do
        [ "$option" = help ] || check "$verb $option" grep -qF "\\-\\-$option\\fR" "$folder/beam.1"
    done
done
# shellcheck disable=SC2016 # Markdown's code
"$beam" validate --reference | sed -n 's/^| `\([^`]*\)`.*/\1/p' >"$folder/keys"
check "keys" test -s "$folder/keys"
while read -r key; do
    check "$key is in beam.yaml(5)" grep -qF "\\fB$key\\fR (" "$folder/beam.yaml.5"
done <"$folder/keys"
expect 2 "--help takes no value" man --help=html

for page in beam.1 beam.yaml.5; do
    if command -v mandoc >/dev/null; then
        mandoc -T lint -W warning "$folder/$page" | grep -v "missing date" >"$folder/lint" || true
        check "mandoc finds nothing in $page: $(cat "$folder/lint")" test ! -s "$folder/lint"
    fi
    if command -v groff >/dev/null; then
        groff -man -Tutf8 -ww -z "$folder/$page" >"$folder/lint" 2>&1 || true
        check "groff finds nothing in $page: $(cat "$folder/lint")" test ! -s "$folder/lint"
    fi
done
finish
