#!/bin/sh
# The launchers and the tests beside this one, read by shellcheck; skipped (77) without it.
set -eu
cd "$(dirname "$0")"
if ! command -v shellcheck >/dev/null; then
    echo "skipped: apt-get install -y shellcheck"
    exit 77
fi
cd ../..
shellcheck -x -P . scripts/launch/*.sh scripts/launch/*.sbatch
shellcheck -x -P tests/ranks tests/ranks/*.sh
