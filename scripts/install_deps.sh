#!/bin/sh
# Installs the Debian 12 or Ubuntu 24.04 packages that building and testing need and that are not there yet, and those
# that are named. As root or through sudo. Does nothing, quickly, when nothing is missing.
#
#     scripts/install_deps.sh [PACKAGE...]
# shellcheck disable=SC2086  # lists of packages are split on purpose
set -eu

packages="build-essential cmake ninja-build pkg-config libopenblas-openmp-dev libhdf5-dev libzstd-dev
libfyaml-dev libjansson-dev libssl-dev libcmocka-dev libopenmpi-dev openmpi-bin iproute2 strace $*"

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "install_deps: this is not Debian or Ubuntu; install the equivalents of:" $packages >&2
    exit 2
fi

missing=""
for package in $packages; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    exit 0
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install_deps: missing packages; as root: apt-get install -y$missing" >&2
        exit 2
    fi
    as_root="sudo"
fi

echo "install_deps: installing$missing"
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Use-Pty=0 $missing >/dev/null
echo "install_deps: done"
