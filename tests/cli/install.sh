#!/bin/sh
# cmake --install: every file in its place, wherever the prefix; a program that finds the library by pkg-config.
# Usage: install.sh BUILD COMPILER
set -eu
build=$1 compiler=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
prefix=$folder/prefix

cmake --install "$build" --prefix "$prefix" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
for file in bin/beam include/beam_moe.h share/man/man1/beam.1 share/man/man5/beam.yaml.5 \
    share/bash-completion/completions/beam share/zsh/site-functions/_beam; do
    [ -s "$prefix/$file" ] || { echo "$file is missing"; exit 1; }
done
env -i "$prefix/bin/beam" version | grep -q '^beam 0\.'
env -i "$prefix/bin/beam" man | cmp - "$prefix/share/man/man1/beam.1"

found=$(find "$prefix" -name beam_moe.pc)
PKG_CONFIG_PATH=$(dirname "$found")
export PKG_CONFIG_PATH
cat >"$folder/try.c" <<'C'
#include <beam_moe.h>
#include <stdio.h>

int main(void)
{
    const beam_moe layer = {.size = sizeof layer, .abi = BEAM_MOE_ABI, .hidden_size = -1};
    const int code = beam_moe_check(&layer);
    printf("%s\n", beam_moe_error(code));
    return code != BEAM_MOE_ESHAPE;
}
C
# shellcheck disable=SC2046 # words
"$compiler" -o "$folder/try" "$folder/try.c" $(pkg-config --cflags --libs beam_moe)
LD_LIBRARY_PATH=$(pkg-config --variable=libdir beam_moe) "$folder/try"
