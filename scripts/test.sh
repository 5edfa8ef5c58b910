#!/bin/sh
# Installs what is missing, builds, and runs every test that this machine can run: the optimised build with all
# tests, then the sanitizer build with the unit and operation tests, then the kernels for GPUs through their compiler
# if there is one, then the layer and format checks.
# Stops at the first stage that fails; each stage names itself.
set -eu
cd "$(dirname "$0")/.."
jobs=$(nproc)
started=$(date +%s)
summary=""

stage() {
    printf '\n== %s\n' "$1"
}

# build_and_test PRESET: configures, builds and tests one preset; keeps ctest's verdict for the end.
build_and_test() {
    stage "$1: configure and build"
    cmake --preset "$1" >"build/$1.log" 2>&1 || { cat "build/$1.log"; exit 1; }
    cmake --build --preset "$1" -j "$jobs"
    stage "$1: test"
    # One test at a time: several of them use all cores themselves.
    ctest --preset "$1" --output-log "build/$1.ctest"
    summary="$summary
$1: $(grep -E 'tests passed' "build/$1.ctest")"
}

stage "packages"
./scripts/install_deps.sh
mkdir -p build

build_and_test cpu
build_and_test asan

# Kernels for GPUs ran above on the processor; the compiler for GPUs finds other faults, and says what registers they take.
if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
    stage "cuda: compile"
    cmake --preset cuda >build/cuda.log 2>&1 || { cat build/cuda.log; exit 1; }
    cmake --build --preset cuda --target beam_kernels_cuda -j "$jobs"
    ctest --preset cuda -R '^cuda\.registers$' --output-log build/cuda.ctest
    summary="$summary
cuda: compiled; $(grep -E 'tests passed' build/cuda.ctest)"
else
    summary="$summary
cuda: not compiled (there is no nvcc)"
fi

stage "layers and format"
./scripts/check_layers.sh
summary="$summary
layers: ok"
version=$(clang-format --version 2>/dev/null | grep -oE '[0-9]+' | head -n 1 || true)
if [ "${version:-0}" -ge 14 ]; then
    ./scripts/format.sh --check
    summary="$summary
format: ok"
else
    summary="$summary
format: not checked (clang-format 14 or later is not installed)"
fi

printf '\n== summary (%d s)%s\nall passed\n' "$(($(date +%s) - started))" "$summary"
