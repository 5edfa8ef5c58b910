#include "ops/tile.h"

#include "kernels/cuda/reduce.cuh"

static __global__ void bf16_kernel(float *d, const bf16 *a, const bf16 *b, bool b_by_column, int rows)
{
    BEAM_SHARED(bf16, a_tile, 16 * 16);
    BEAM_SHARED(bf16, b_tile, 16 * 16);
    const int lane = static_cast<int>(threadIdx.x), row = lane / 2, half = lane % 2 * 8;
    ptx_copy_async(a_tile + row * 16 + half, a + row * 16 + half, row < rows ? 16 : 0);
    if (lane < 16)
        ptx_copy_async(b_tile + lane * 8, b + lane * 8, 16);
    ptx_copy_commit();
    ptx_copy_wait<0>();
    __syncthreads();
    uint32_t x[4], y[4];
    ptx_load_matrices(x, a_tile + lane % 16 * 16 + lane / 16 * 8);
    if (b_by_column)
        ptx_load_matrices(y, b_tile + lane % 8 * 16 + lane / 8 % 2 * 8);
    else
        ptx_load_matrices_transposed(y, b_tile + lane % 16 * 8);
    const int g = lane / 4, t = lane % 4;
    float sum[4];
    for (int i = 0; i < 4; i++)
        sum[i] = d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    ptx_mma_bf16(sum, x, y);
    for (int i = 0; i < 4; i++)
        d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}

static __global__ void tf32_kernel(float *d, const float *a, const float *b)
{
    const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
    uint32_t x[4], y[2];
    for (int i = 0; i < 4; i++)
        x[i] = ptx_tf32_bits(a[(g + i % 2 * 8) * 8 + t + i / 2 * 4]);
    for (int i = 0; i < 2; i++)
        y[i] = ptx_tf32_bits(b[(t + i * 4) * 8 + g]);
    float sum[4];
    for (int i = 0; i < 4; i++)
        sum[i] = d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    ptx_mma_tf32(sum, x, y);
    for (int i = 0; i < 4; i++)
        d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}

static __global__ void votes_kernel(int32_t *out)
{
    const int i = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x), lane = i % 32;
    out[i] = static_cast<int32_t>(__ballot_sync(whole_warp, lane % 2));
    out[n + i] = __shfl_sync(whole_warp, lane, 3);
    out[2 * n + i] = __shfl_xor_sync(whole_warp, lane, 1);
    out[3 * n + i] = __shfl_up_sync(whole_warp, lane, 2);
    out[4 * n + i] = __shfl_down_sync(whole_warp, lane, 2);
    out[5 * n + i] = __syncthreads_count(i < 10);
    out[6 * n + i] = __syncthreads_or(i > 1000);
    out[7 * n + i] = __syncthreads_and(i < 1000);
}

static __global__ void broken_kernel(tile_mistake mistake)
{
    BEAM_SHARED(uint4, room, 1);
    const unsigned i = threadIdx.x;
    if (mistake == TILE_MISSED_BARRIER && i % 2 == 0)
        __syncthreads();
    if (mistake == TILE_MISSED_BARRIER && i % 2 == 1)
        __syncwarp();
    if (mistake == TILE_MISSED_LANE && i != 5)
        __syncwarp();
    if (mistake == TILE_NEVER_WAITED && i == 0)
        ptx_copy_async(room, room, 0);
}

static __global__ void race_kernel(float *out)
{
    BEAM_SHARED(float, x, 64);
    x[threadIdx.x] = static_cast<float>(threadIdx.x);
    out[threadIdx.x] = x[63 - threadIdx.x];
}

void tile_bf16(beam_backend *be, beam_tensor d, beam_tensor a, beam_tensor b, bool b_by_column, int rows)
{
    launch(be, bf16_kernel, 1, 32, 0, data_of<float>(d), data_of<bf16>(a), data_of<bf16>(b), b_by_column,
           rows);
}

void tile_tf32(beam_backend *be, beam_tensor d, beam_tensor a, beam_tensor b)
{
    launch(be, tf32_kernel, 1, 32, 0, data_of<float>(d), data_of<float>(a), data_of<float>(b));
}

void tile_votes(beam_backend *be, beam_tensor out)
{
    launch(be, votes_kernel, 1, static_cast<unsigned>(out.dim[1]), 0, data_of<int32_t>(out));
}

void tile_broken(beam_backend *be, tile_mistake mistake)
{
    launch(be, broken_kernel, 1, 64, mistake == TILE_TOO_MUCH_SHARED ? 300 << 10 : 0, mistake);
}

void tile_race(beam_backend *be, beam_tensor out)
{
    launch(be, race_kernel, 1, 64, 0, data_of<float>(out));
}
