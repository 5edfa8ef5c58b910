#!/bin/sh
# Formats every C source of the repository; with --check only says which files differ (exit 1).
# Needs clang-format 14 or later: versions differ in details, 14 is the reference.
set -eu
cd "$(dirname "$0")/.."

if [ "${1:-}" = "--check" ]; then
    set -- --dry-run --Werror
else
    set -- -i
fi
find core kernels data model optim comm train serve cli tests \
    \( -name '*.[ch]' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' \) -print0 | sort -z | xargs -0 -r clang-format "$@"
