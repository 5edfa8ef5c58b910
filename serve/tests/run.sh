#!/bin/sh
# Tests masked models in Hugging Face transformers: pip install -r requirements.txt, then run.sh [PYTEST ARGUMENT]...
# BEAM is the program (build/cpu/cli/beam), PYTHON the interpreter (python3). Needs no network.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
modules=$(mktemp -d)
trap 'rm -rf "$modules"' EXIT
export HF_HUB_OFFLINE=1 HF_MODULES_CACHE="$modules"
"${PYTHON:-python3}" -m pytest -q -p no:cacheprovider --ignore="$here/vllm" --ignore="$here/sglang" "$here" "$@"
