#!/bin/sh
# Tests masked models in Hugging Face transformers: pip install -r requirements.txt, then run.sh [PYTEST ARGUMENT]...
# BEAM is the program (build/cpu/cli/beam), PYTHON the interpreter (python3). Needs no network.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export HF_HUB_OFFLINE=1 HF_MODULES_CACHE="${HF_MODULES_CACHE:-$(mktemp -d)}"
exec "${PYTHON:-python3}" -m pytest -q -p no:cacheprovider "$here" "$@"
