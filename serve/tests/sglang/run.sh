#!/bin/sh
# Tests of the SGLang plugin, on a processor. Arguments after the program go to pytest:
#     python3.11 -m venv venv && venv/bin/pip install -r serve/tests/sglang/requirements.txt ./serve/sglang_expert_mask
#     PATH=$PWD/venv/bin:$PATH serve/tests/sglang/run.sh build/cpu/cli/beam
set -eu
BEAM=$(realpath "$1")
shift
export BEAM OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- .
exec python -m pytest -p no:cacheprovider "$@"
