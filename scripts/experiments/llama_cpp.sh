#!/bin/bash
# beam and llama.cpp beside each other: tokens per second when OLMoE-1B-7B's shape (random weights, bf16, 14 GB) generates,
# with all 8 candidates in both programs, and with masks in beam. Needs a machine that nobody else uses, 16 GB of memory,
# 15 GB of disk in $WORK, and the network: llama.cpp comes with the sources of llama-cpp-python on PyPI.
# Prints the tables of both programs; half an hour of building, then six minutes.
#
#   BEAM     the program      (build/cpu/cli/beam)
#   WORK     what is built    (build/llama_cpp)
#   BATCHES  sequences        (1,4,8,16)
set -eu
cd "$(dirname "$0")/../.."
version=0.3.36
beam=${BEAM:-build/cpu/cli/beam}
work=${WORK:-build/llama_cpp}
batches=${BATCHES:-1,4,8,16}
config=tests/fixtures/configs/OLMoE-1B-7B-0125-Instruct.json
bench=$work/build/bin/llama-batched-bench
threads=$(nproc)
mkdir -p "$work"

[ -d "$work/venv" ] || python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q numpy gguf
if [ ! -x "$bench" ]; then
    url=$(curl -fsS https://pypi.org/simple/llama-cpp-python/ | grep -o "https://[^\"#]*llama_cpp_python-$version.tar.gz" | head -n 1)
    curl -fsS "$url" | tar xz -C "$work"
    cmake -S "$work/llama_cpp_python-$version/vendor/llama.cpp" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
        -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF >"$work/cmake.log"
    cmake --build "$work/build" --target llama-batched-bench -j "$threads" >"$work/build.log"
fi
if [ ! -s "$work/olmoe.gguf" ]; then
    "$work/venv/bin/python" scripts/experiments/random_gguf.py "$config" --out "$work/olmoe.gguf.part"
    mv "$work/olmoe.gguf.part" "$work/olmoe.gguf"
fi

# One after the other: each has the machine's memory for itself. Prompts of 120 tokens touch all experts: llama.cpp maps
# its file, and would generate the first tokens from pages that are not mapped yet.
OMP_WAIT_POLICY=active "$beam" bench decode --model "random:$config" --batch "$batches" --steps 7
"$bench" --model "$work/olmoe.gguf" -npp 120 -ntg 8 -npl "$batches" -c 4096 -t "$threads" 2>"$work/bench.log"
