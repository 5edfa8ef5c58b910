#!/bin/sh
# The documentation: links lead somewhere, paths of this repository exist, and every `beam VERB --option key=value` in
# it is one that the program takes.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/expect.sh"
cd "$root"
pages=$(find . -name '*.md' ! -path './build*' ! -path './.git/*' ! -path './runs/*' | sort)

# Text outside fenced blocks, without code spans.
prose() { awk '/^ *```/ {fenced = !fenced; next} !fenced {gsub(/`[^`]*`/, ""); print}' "$1"; }

# Code: lines of fenced blocks, with \ at their end joined; code spans.
code() {
    awk '/^ *```/ {fenced = !fenced; next}
         fenced && /\\$/ {held = held substr($0, 1, length($0) - 1); next}
         fenced {print held $0; held = ""; next}
         {while (match($0, /`[^`]+`/)) {print substr($0, RSTART + 1, RLENGTH - 2); $0 = substr($0, RSTART + RLENGTH)}}' "$1"
}

# The names that headings get as anchors.
anchors() {
    awk '/^ *```/ {fenced = !fenced; next} !fenced && /^#+ / {sub(/^#+ /, ""); print tolower($0)}' "$1" |
        sed 's/[^a-z0-9_ -]//g; s/ /-/g'
}

for page in $pages; do
    prose "$page" | grep -oE '\]\([^)]+\)' | sed 's/^](//; s/)$//' >"$folder/links" || true
    while read -r link; do
        case $link in *://* | mailto:*) continue ;; esac
        file=${link%%#*} anchor=""
        case $link in *#*) anchor=${link#*#} ;; esac
        target=$page
        [ -z "$file" ] || target=$(dirname "$page")/$file
        if [ ! -e "$target" ]; then
            echo "$page: $link leads nowhere"
            failures=$((failures + 1))
        elif [ -n "$anchor" ] && ! anchors "$target" | grep -qxF -- "$anchor"; then
            echo "$page: $link: no such heading"
            failures=$((failures + 1))
        fi
    done <"$folder/links"
done

# Paths: words of code that begin with a folder of this repository. Without an ending they may be something else, as
# names of curves are; only the README has none of those.
# shellcheck disable=SC2086 # a list
for page in README.md CONTRIBUTING.md docs/*.md; do
    code "$page" | tr ' ' '\n' | sed -E 's/[.,:;]+$//; s|^\./||' |
        grep -E '^(cli|cmake|comm|configs|core|data|docker|docs|examples|kernels|model|optim|scripts|serve|tests|train)/[A-Za-z0-9_./-]+$' |
        sort -u >"$folder/paths" || true
    while read -r path; do
        case $page:$path in *NAME*) continue ;; README.md:* | *.*:*.*) ;; *) continue ;; esac
        if [ ! -e "$path" ]; then
            echo "$page: $path does not exist"
            failures=$((failures + 1))
        fi
    done <"$folder/paths"
done

# Commands: "PAGE beam VERB ..." up to what ends one.
for page in $pages; do
    code "$page" | sed 's/[[:space:]]#[[:space:]].*//' | sed 's/[|;&]/\n/g' |
        sed -nE "s%^(.*[ /])?beam ([a-z]+.*)%$page \2%p" | sed 's/[][)"`]//g'
done >"$folder/commands"
"$beam" completion bash | sed -n '/^_beam_options/,/^END/p' | sed '1,2d; /^END/d' >"$folder/options"
"$beam" completion bash | sed -n '/^_beam_keys/,/^END/p' | sed '1,2d; s/ .*//' >"$folder/keys"
awk -F '\t' -v keys="$folder/keys" '
    NR == FNR {split($1, words, " "); options[words[1], $2] = 1; verbs[words[1]] = 1; next}
    FILENAME == keys {key[$1] = 1; next}
    {
        n = split($0, words, " ")
        verb = words[2]
        if (!(verb in verbs)) next
        for (i = 3; i <= n; i++) {
            word = words[i]
            overrides = verb ~ /^(train|validate|estimate|preprocess)$/
            name = word
            sub(/=.*/, "", name)
            override = name
            sub(/^--/, "", override)
            gsub(/-/, "_", override)
            if (word ~ /^--[a-z]/ && !((verb, name) in options) && !(overrides && override in key))
                print words[1] ": beam " verb ": no option " name
            if (overrides && word ~ /^[a-z_.]+=/ && !(override in key))
                print words[1] ": beam " verb ": no key " name
        }
    }' "$folder/options" "$folder/keys" "$folder/commands" >"$folder/wrong"
check "commands and options were found" test -s "$folder/commands"
check "options were found" test -s "$folder/options"
if [ -s "$folder/wrong" ]; then
    cat "$folder/wrong"
    failures=$((failures + 1))
fi
finish
