#!/bin/sh
# scripts/faults and scripts/nightly.sh, read by shellcheck; skipped (77) without it.
set -eu
cd "$(dirname "$0")/../.."
if ! command -v shellcheck >/dev/null; then
    echo "skipped: apt-get install -y shellcheck"
    exit 77
fi
shellcheck -x -P . -P scripts/faults scripts/faults/*.sh scripts/nightly.sh tests/faults/*.sh
