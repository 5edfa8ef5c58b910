#!/bin/sh
# Checks and measures beam on a GPU, in the folder that scripts/gpu_bundle.sh made (this script is in it):
#
#     FOLDER/gpu_check.sh [--out LOGS] [--report PERFORMANCE.md] [STAGE ...]
#
# Stages, all by default: ops model decode repeats memcheck initcheck synccheck racecheck bench. Each has its own log in
# LOGS (default gpu-logs); summary.txt says how each ended. A stage that fails does not stop the others. --report
# appends date, device, commands and figures to a file like docs/performance.md. BEAM_REPEATS: times that a pass is
# repeated (100). BEAM_STAGE_SECONDS: the longest a stage may take (240). Exit code 77: no device.
set -u
here=$(cd "$(dirname "$0")" && pwd)
logs=gpu-logs
report=""
while [ $# -gt 0 ]; do
    case $1 in
    --out) logs=${2:?--out needs a folder}; shift 2 ;;
    --report) report=${2:?--report needs a file}; shift 2 ;;
    -*) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
    *) break ;;
    esac
done
stages=${*:-ops model decode repeats memcheck initcheck synccheck racecheck bench}
export BEAM_TEST_FAMILIES="$here/families" BEAM_TEST_EXAMPLE="$here/tiny-moe" OMP_WAIT_POLICY=passive
export BEAM_TEST_MOE_LIBRARY="$here/lib/libbeam_moe.so"
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}:/usr/local/cuda/lib64" # cuBLASLt, cuDNN

# ops.cuda asks the driver, as beam does.
if ! "$here/beam" doctor --json | grep -q '"gpus": \[{'; then
    echo "no device: beam sees no GPU here (beam doctor)"
    exit 77
fi
mkdir -p "$logs"
device=$("$here/beam" doctor | sed -n 's/^gpu [0-9]* *//p' | head -1)
: >"$logs/summary.txt"
failed=0

# stage NAME COMMAND...: a log, a line of the summary, and the command for the report. Fails if it was not asked for.
stage() {
    name=$1
    shift
    case " $stages " in *" ${name%%_*} "*) ;; *) return 1 ;; esac
    printf '$ %s\n' "$*" >"$logs/$name.log"
    began=$(date +%s)
    timeout "${BEAM_STAGE_SECONDS:-240}" "$@" >>"$logs/$name.log" 2>&1
    code=$?
    case $code in
    0) verdict=passed ;;
    77) verdict=skipped ;;
    124) verdict="stopped after ${BEAM_STAGE_SECONDS:-240} s"; failed=1 ;;
    *) verdict="FAILED ($code)"; failed=1 ;;
    esac
    printf '%-18s %s, %s s\n' "$name" "$verdict" $(($(date +%s) - began)) | tee -a "$logs/summary.txt"
}

# with_cudnn NAME COMMAND...: a stage with attention by cuDNN, and a note in the summary if there is none.
with_cudnn() {
    name=$1
    shift
    stage "$name" env BEAM_CUDA_CUDNN=1 "$@" || return
    if ! grep -q 'attention by cuDNN' "$logs/$name.log" || grep -q 'cuDNN cannot compile' "$logs/$name.log"; then
        echo "$name: cuDNN could not be loaded, or not compile: this says nothing about it" | tee -a "$logs/summary.txt"
    fi
}

# sanitize TOOL: compute-sanitizer over every operation.
sanitize() {
    tool=$1
    if command -v compute-sanitizer >/dev/null; then
        stage "$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 "$here/ops.cuda"
        stage "${tool}_decode" compute-sanitizer --tool "$tool" --error-exitcode 1 "$here/decode.ops_cuda"
    else
        stage "$tool" sh -c 'echo "compute-sanitizer is not on the path"; exit 77'
    fi
}

stage ops "$here/ops.cuda"
stage ops_tiles env BEAM_CUDA_BLAS=0 "$here/ops.cuda"
stage ops_wgmma env BEAM_CUDA_WGMMA=1 "$here/ops.cuda"
with_cudnn ops_cudnn "$here/ops.cuda"
stage ops_tile "$here/ops.tile_cuda"
stage model "$here/model.cuda" 2
with_cudnn model_cudnn "$here/model.cuda" 2
stage decode_layer "$here/decode.cuda"
stage decode_ops "$here/decode.ops_cuda"
stage decode_models "$here/decode.decoder_cuda"
stage repeats "$here/model.cuda" "${BEAM_REPEATS:-100}"
with_cudnn repeats_cudnn "$here/model.cuda" "${BEAM_REPEATS:-100}"
for tool in memcheck initcheck synccheck racecheck; do
    sanitize "$tool"
done

# The layers of Qwen3-30B-A3B, four of them, and a smaller vocabulary: what a step does per layer.
sed 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 4/; s/"vocab_size": [0-9]*/"vocab_size": 16384/' \
    "$here/Qwen3-30B-A3B.json" >"$logs/layers.json"
stage bench_grouped "$here/bench_grouped"
with_cudnn bench_attention "$here/bench_attention"
with_cudnn bench_attention_latent "$here/bench_attention" 16384 16 16 192 128 4
stage bench_grouped_wgmma env BEAM_CUDA_WGMMA=1 "$here/bench_grouped"
set -- "$here/beam" bench train --model "random:$logs/layers.json" --backend cuda --bf16 --rows 4 \
    --sequence 4096 --steps 10
stage bench_step_0 env BEAM_CUDA_WGMMA=0 "$@"
stage bench_step_1 env BEAM_CUDA_WGMMA=1 "$@"
with_cudnn bench_step_cudnn "$@"
# A mixture layer alone, 16,384 tokens, beside PyTorch's grouped products. Without torch those are skipped.
set -- "$here/beam" bench train --layer --model "random:$logs/layers.json" --backend cuda --bf16 --rows 8 \
    --sequence 2048
stage bench_layer_0 env BEAM_CUDA_WGMMA=0 "$@"
stage bench_layer_1 env BEAM_CUDA_WGMMA=1 "$@"
stage bench_layer_torch python3 "$here/bench_moe_torch.py" train
# Decoding: a mixture layer alone, then whole tokens of Qwen3-30B-A3B (61 GB of random weights).
stage bench_decode_layer "$here/decode.bench"
stage bench_decode_torch python3 "$here/bench_moe_torch.py" decode
stage bench_decode "$here/beam" bench decode --model "random:$here/Qwen3-30B-A3B.json" --backend cuda --context 1024 \
    --batch 1,4,16,64 --steps 20

if [ -n "$report" ]; then
    {
        # shellcheck disable=SC2016 # a code span of Markdown
        printf '\n## GPU, %s\n\n%s, commit %s, `FOLDER/gpu_check.sh %s`:\n' "$(date +%Y-%m-%d)" "$device" \
            "$(cat "$here/commit")" "$stages"
        printf '\n```\n'
        cat "$logs/summary.txt"
        printf '```\n'
        for name in bench_grouped bench_grouped_wgmma bench_attention bench_attention_latent bench_step_0 \
            bench_step_1 bench_step_cudnn bench_layer_0 bench_layer_1 bench_layer_torch bench_decode_layer \
            bench_decode_torch bench_decode; do
            [ -f "$logs/$name.log" ] || continue
            printf '\n```\n'
            sed "s|$here/||g; s|$logs/||g" "$logs/$name.log"
            printf '```\n'
        done
    } >>"$report"
fi
exit $failed
