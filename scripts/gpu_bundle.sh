#!/bin/sh
# Builds what a machine with a GPU needs to check beam, with every library it lacks, into FOLDER and FOLDER.tar.xz:
#
#     scripts/gpu_bundle.sh FOLDER [BUILD]      then, on that machine: python3 -m tarfile -e FOLDER.tar.xz (or
#                                               tar -xf, with xz), and FOLDER/gpu_check.sh
#
# The folder runs where there is glibc and an NVIDIA driver: no HDF5, OpenBLAS, MPI or compiler. BUILD (default
# build/bundle) is where it is built: without MPI, for processors from x86-64-v3 on, for sm_90a unless
# BEAM_CUDA_ARCHS says otherwise. Stops if anything cannot be resolved inside the folder, or if the archive is larger
# than BEAM_BUNDLE_MIB (default 64).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 64
fi
build=${2:-$root/build/bundle}
programs="cli/beam tests/ops/ops.cuda tests/ops/ops.tile_cuda tests/ops/bench_grouped tests/ops/bench_attention
    tests/model/model.cuda tests/decode/decode.ops_cuda tests/decode/decode.decoder_cuda tests/decode/decode.cuda
    tests/decode/decode.bench"
targets="beam ops.cuda ops.tile_cuda bench_grouped bench_attention model.cuda decode.ops_cuda decode.decoder_cuda
    decode.cuda decode.bench beam_moe"
# What every Linux machine with a driver has: the loader, glibc's libraries, and the driver itself.
system='linux-vdso|ld-linux|lib(c|m|pthread|rt|dl|resolv|cuda)\.so'

cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBEAM_CUDA=ON -DBEAM_MPI=OFF -DBEAM_NATIVE=OFF \
    -DBEAM_CUDA_ARCHS="${BEAM_CUDA_ARCHS:-90a}" -DCMAKE_BUILD_RPATH="\$ORIGIN/lib;\$ORIGIN" \
    -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags >/dev/null
# shellcheck disable=SC2086 # a list
cmake --build "$build" -j "${BEAM_JOBS:-2}" --target $targets

mkdir -p "$1/lib"
out=$(cd "$1" && pwd)
for program in $programs; do
    cp "$build/$program" "$out/"
    strip --strip-debug "$out/$(basename "$program")"
done
cp -L "$build/serve/libbeam_moe.so" "$out/lib/"

# Libraries of libraries find their own beside them, whatever they say themselves: the programs' rpath is of the kind
# (--disable-new-dtags) that also holds for what they load indirectly.
for file in $programs serve/libbeam_moe.so; do
    ldd "$build/$file" | awk '$3 ~ /^\// {print $3}'
done | sort -u | grep -Ev "/$system" | while read -r library; do
    cp -L "$library" "$out/lib/"
done
strip --strip-unneeded "$out"/lib/*.so*

cp "$root/scripts/gpu_check.sh" "$root/scripts/bench_moe_torch.py" "$out/"
cp -r "$root/tests/fixtures/families" "$root/examples/tiny-moe" "$out/"
cp "$root/tests/fixtures/configs/Qwen3-30B-A3B.json" "$out/"
(cd "$root" && git rev-parse HEAD 2>/dev/null || echo unknown) >"$out/commit"

# Nothing may be found outside, with an environment that says nothing.
for file in $programs lib/libbeam_moe.so; do
    [ -f "$out/$file" ] || file=$(basename "$file")
    outside=$(env -i ldd "$out/$file" | grep -Ev "$system" | grep -vF "=> $out/lib/" || true)
    if [ -n "$outside" ]; then
        echo "gpu_bundle: $file needs what is not in $out:" >&2
        echo "$outside" >&2
        exit 1
    fi
done
env -i "$out/beam" --version
# Every program holds the same kernels: a dictionary that reaches back over all of them makes a third of gzip's size.
XZ_OPT='--lzma2=preset=6,dict=128MiB' tar -C "$(dirname "$out")" -cJf "$out.tar.xz" "$(basename "$out")"
size=$(($(wc -c <"$out.tar.xz") / 1048576 + 1))
if [ "$size" -gt "${BEAM_BUNDLE_MIB:-64}" ]; then
    echo "gpu_bundle: $out.tar.xz has $size MiB, more than ${BEAM_BUNDLE_MIB:-64}" >&2
    exit 1
fi
echo "$out.tar.xz: $size MiB"
