#!/bin/bash
# What skipped experts save when tokens are generated: a shape of Qwen3-30B-A3B's layers (random weights, bf16), masks
# of Avg-K 1.2 against all 8. Needs a machine that nobody else uses; a few minutes. The table, the raw numbers and the
# picture go to OUT.{md,json,svg}.
#
#   BEAM     the program               (build/cpu/cli/beam)
#   BACKEND  cpu or cuda               (cpu)
#   OUT      results without ending    (docs/results/decode)
#   LAYERS   of the model              (8: 11 GB of memory with the embedding and head)
set -eu
cd "$(dirname "$0")/../.."
beam=${BEAM:-build/cpu/cli/beam}
out=${OUT:-docs/results/decode}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-active}
mkdir -p "$(dirname "$out")"
"$beam" bench decode --model random:tests/fixtures/configs/Qwen3-30B-A3B.json --layers "${LAYERS:-8}" \
    --batch 1,2,4,8,16,32,64,128 --backend "${BACKEND:-cpu}" --steps 9 --json >"$out.json"
python3 scripts/experiments/plot_decode.py "$out.json" --out "$out"
