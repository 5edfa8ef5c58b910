#!/bin/sh
# The layer check itself: accepts a right tree, names each wrong edge. Usage: layers.sh CHECK_LAYERS
set -eu
check=$1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/core" "$root/kernels/cpu" "$root/data" "$root/train" "$root/cli" "$root/model" "$root/comm"

# put FILE LINE: a tree with just this line in this file.
put() {
    rm -f "$root"/*/*.c "$root"/*/*/*.c
    printf '%s\n' "$2" >"$root/$1"
}
accepts() {
    put "$1" "$2"
    "$check" "$root" || { echo "refused: $2 in $1"; exit 1; }
}
rejects() {
    put "$1" "$2"
    if "$check" "$root" >"$root/out"; then
        echo "accepted: $2 in $1"
        exit 1
    fi
    grep -q "^$1:1: " "$root/out" || { cat "$root/out"; exit 1; }
}

accepts core/a.c '#include "core/status.h"'
accepts kernels/cpu/a.c '#include <cblas.h>'
accepts kernels/cpu/a.c '#include "kernels/ops.h" // from the folder above'
accepts data/a.c '#include <openssl/evp.h>'
accepts train/config_yaml.c '#include <libfyaml.h>'
accepts train/a.c '#include "data/file.h"'
accepts cli/a.c '#include "kernels/ops.h"'
accepts model/a.c '#include "comm/comm.h"'
rejects comm/a.c '#include "model/model.h"'
rejects core/a.c '#include "train/config.h"'
rejects kernels/cpu/a.c '#include "data/file.h"'
rejects data/a.c '#  include  "kernels/ops.h"'
rejects train/a.c '#include "cli/args.h"'
rejects train/a.c '#include "config.h"'
rejects train/a.c '#include "../core/status.h"'
rejects train/a.c '#include <jansson.h>'
rejects train/a.c '#include <libfyaml.h>'
rejects cli/a.c '#include <hdf5.h>'
rejects data/a.c '#include <cblas.h>'
