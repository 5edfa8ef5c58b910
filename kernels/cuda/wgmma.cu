/* NOT RUN YET: compiled for sm_90a, and never executed on any device (the host shim has none of its parts).
 *
 * The experts' products by wgmma and TMA. A block stays on its processor and takes tiles of 128 rows and 256
 * columns, as in grouped_gemm.cu. One warpgroup only starts bulk copies, into 4 buffers of 128 x 64 and 64 x
 * 256 numbers (48 KiB each); two others multiply, each 64 x 256 of the tile, and store their sums while the
 * copies for the next tile already run. 192 KiB of shared memory: one block on a processor.
 *
 * Why this size: a tile reads 768 B for 128 x 256 multiply-adds, 85 FLOP/B: at the 5.5 TB/s of an H200's L2
 * cache 470 TFLOP/s. Inside, a warpgroup's 64 x 128 x 16 product reads 6 KiB of shared memory in the 64
 * cycles that it takes, 96 of the 128 B that a cycle can bring.
 *
 * A bulk copy brings 128 rows, also of the next group; they meet no sum that is stored. So rows of other
 * groups may hold anything, as they may in grouped_gemm.cu. */
#include <cuda.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/groups.cuh"
#include "kernels/cuda/ptx_sm90.cuh"
#include "kernels/cuda/wgmma.h"

constexpr int wide = 256, deep = 64, stages = 4; /* columns of a tile, k per buffer, buffers */
constexpr int a_bytes = tile_size * deep * 2, b_bytes = wide * deep * 2, stage_bytes = a_bytes + b_bytes;
constexpr int swizzle_bytes = 1024; /* buffers start at multiples of it */
constexpr int threads = 384, consumer_warps = 8;

struct wgmma_shape {
    int n, m;
};

/* Where a block is: tile after tile, in each k after k, the buffers in turn. Producer and consumers walk the
 * same way. */
struct wgmma_walk {
    const int *ends;
    row_groups groups;
    wgmma_shape s;
    int tile, tiles, stage, parity;
    int expert, row, rows, column; /* of the tile; rows: how many are left in the group */

    __device__ wgmma_walk(const int *ends_, const row_groups &groups_, wgmma_shape s_)
        : ends(ends_), groups(groups_), s(s_), tile(static_cast<int>(blockIdx.x)), stage(0), parity(0)
    {
        tiles = ends[groups.count() - 1] * across();
    }

    __device__ int across() const
    {
        return (s.n + wide - 1) / wide;
    }

    __device__ bool find()
    {
        if (tile >= tiles)
            return false;
        const int high = tile / across(), g = group_of_tile(ends, groups.count(), high);
        const row_range r = groups.group(g);
        expert = groups.expert(g);
        row = r.begin + (high - (g > 0 ? ends[g - 1] : 0)) * tile_size;
        rows = r.end - row;
        column = tile % across() * wide;
        return true;
    }

    __device__ void next_stage()
    {
        stage = (stage + 1) % stages;
        parity ^= stage == 0;
    }
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/* One thread. Lines of b across k come as four boxes of 64 columns. */
template <bool TB>
static __device__ __forceinline__ void produce(unsigned char *buffers, uint64_t *full, uint64_t *empty,
                                               wgmma_walk walk, const CUtensorMap *a, const CUtensorMap *b)
{
    for (; walk.find(); walk.tile += static_cast<int>(gridDim.x))
        for (int k = 0; k < walk.s.m; k += deep, walk.next_stage()) {
            uint64_t *const barrier = full + walk.stage;
            unsigned char *const to = buffers + walk.stage * stage_bytes;
            ptx_barrier_wait(empty + walk.stage, walk.parity ^ 1); /* at first nobody has to empty it */
            ptx_barrier_expect(barrier, stage_bytes);
            ptx_copy_box(to, a, k, walk.row, barrier);
            if (TB)
                ptx_copy_box(to + a_bytes, b, k, walk.column, walk.expert, barrier);
            else
                for (int j = 0; j < wide / 64; j++)
                    ptx_copy_box(to + a_bytes + j * 64 * deep * 2, b, walk.column + 64 * j, k, walk.expert,
                                 barrier);
        }
}

/* 64 x 256 sums over the 64 numbers of a buffer. */
template <bool TB>
static __device__ __forceinline__ void multiply(float sum[2][64], const unsigned char *stage, int row)
{
    ptx_wgmma_fence();
#pragma unroll
    for (int k = 0; k < deep; k += 16) {
        const uint64_t a = ptx_wgmma_matrix(stage + row * 128 + k * 2, 16);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const unsigned char *const b = stage + a_bytes + half * (b_bytes / 2);
            ptx_wgmma<!TB>(sum[half], a,
                           TB ? ptx_wgmma_matrix(b + k * 2, 16)
                              : ptx_wgmma_matrix(b + k * 128, 64 * deep * 2));
        }
    }
    ptx_wgmma_commit();
}

/* A warpgroup, for 64 rows of every tile. It waits for its own products; the other one keeps the tensor cores
 * busy meanwhile. */
template <bool TB>
static __device__ __forceinline__ void consume(const unsigned char *buffers, uint64_t *full, uint64_t *empty,
                                               wgmma_walk walk, const swiglu_output<bf16> &c, int row)
{
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
    for (; walk.find(); walk.tile += static_cast<int>(gridDim.x)) {
        float sum[2][64] = {};
        for (int k = 0; k < walk.s.m; k += deep, walk.next_stage()) {
            ptx_barrier_wait(full + walk.stage, walk.parity);
            multiply<TB>(sum, buffers + walk.stage * stage_bytes, row);
            ptx_wgmma_wait<0>();
            if (lane == 0)
                ptx_barrier_arrive(empty + walk.stage);
        }
        const int top = row + 16 * warp + lane / 4;
        const swiglu_output<bf16> out = c.from(walk.row, walk.column);
#pragma unroll
        for (int i = 0; i < 32; i++) { /* pairs of groups of 8 columns, in two rows each */
            const int low = i / 16, half = i / 8 % 2, j = i % 8 * 8, r = top + 8 * low;
            out.put_groups(r, r < walk.rows, 128 * half + 2 * j, walk.s.n - walk.column,
                           sum[half] + j + 2 * low, sum[half] + j + 4 + 2 * low);
        }
    }
}

#endif

template <bool TB>
static __global__ void __launch_bounds__(threads, 1)
    wgmma_kernel(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b,
                 swiglu_output<bf16> c, row_groups groups, wgmma_shape s)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    BEAM_SHARED_DYNAMIC(unsigned char, shared);
    BEAM_SHARED(uint64_t, barrier, 2 * stages); /* buffers that are full, then those that are empty */
    unsigned char *const buffers = shared + (-ptx_shared_address(shared) & (swizzle_bytes - 1));
    int *const ends = reinterpret_cast<int *>(buffers + stages * stage_bytes);
    if (threadIdx.x == 0) {
        for (int i = 0; i < stages; i++) {
            ptx_barrier_init(barrier + i, 1);
            ptx_barrier_init(barrier + stages + i, consumer_warps);
        }
        ptx_barrier_publish();
    }
    count_tiles(ends, groups);
    const wgmma_walk walk(ends, groups, s);
    if (threadIdx.x < 128) {
        ptx_fewer_registers<40>();
        if (threadIdx.x == 0)
            produce<TB>(buffers, barrier, barrier + stages, walk, &a, &b);
    } else {
        ptx_more_registers<232>();
        consume<TB>(buffers, barrier, barrier + stages, walk, c, threadIdx.x < 256 ? 0 : 64);
    }
#else
    __trap(); /* beam_cuda_wgmma_open lets no other device come here */
#endif
}

using encode_function = decltype(&cuTensorMapEncodeTiled);

void *beam_cuda_wgmma_open(int device)
{
    const char *wish = getenv("BEAM_CUDA_WGMMA");
    int major = 0, minor = 0;
    void *encode = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    if (!BEAM_CUDA_SM90A || !wish || strcmp(wish, "1") != 0 || major != 9 || minor != 0)
        return nullptr;
#if CUDART_VERSION >= 12050
    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault, &found);
#else
    cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &encode, cudaEnableDefault, &found);
#endif
    return found == cudaDriverEntryPointSuccess ? encode : nullptr;
}

/* A map of contiguous bf16 of the given dims, the innermost first, for boxes of 64 numbers of a line. */
static bool make_map(encode_function encode, CUtensorMap *map, void *data, int ndim, const cuuint64_t *dim,
                     const cuuint32_t *box)
{
    const cuuint64_t step[] = {dim[0] * 2, dim[0] * dim[1] * 2};
    const cuuint32_t every[] = {1, 1, 1};
    return encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, static_cast<cuuint32_t>(ndim), data, dim, step, box,
                  every, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

bool beam_cuda_wgmma_grouped(beam_backend *be, const beam_grouped_product *p, const beam_route *route,
                             beam_rows_of rows)
{
    const encode_function encode =
        reinterpret_cast<encode_function>(static_cast<const beam_cuda_impl *>(be->impl)->tensor_map);
    const int64_t n = p->c.dim[1], m = p->a.dim[1];
    if (!encode || be->real != BEAM_BF16 || !is_aligned<bf16>(m, p->a.data, p->b.data, p->c.data) ||
        n % vector_of<bf16> != 0)
        return false;
    const auto size = [](int64_t x) { return static_cast<cuuint64_t>(x); };
    const cuuint64_t a_dim[] = {size(m), size(p->a.dim[0])};
    const cuuint64_t b_dim[] = {size(p->b.dim[2]), size(p->b.dim[1]), size(p->b.dim[0])};
    const cuuint32_t a_box[] = {deep, tile_size},
                     b_box[] = {64, static_cast<cuuint32_t>(p->tb ? wide : deep), 1};
    CUtensorMap a_map, b_map;
    if (!make_map(encode, &a_map, p->a.data, 2, a_dim, a_box) ||
        !make_map(encode, &b_map, p->b.data, 3, b_dim, b_box))
        return false;
    if (p->x.data)
        beam_cuda_route_gather(be, p->a, p->x, route, rows);
    const row_groups groups = groups_of(route, rows);
    const int64_t most = (tiles_of(p->c.dim[0]) + groups.count()) * ceil_div(n, wide);
    const int64_t blocks = min(most, static_cast<int64_t>(beam_cuda_processors(be)));
    const swiglu_output<bf16> c = {output_to<bf16>(p->c.data, n, 1, 0), act_of_tiles(p)};
    launch(be, p->tb ? wgmma_kernel<true> : wgmma_kernel<false>, dim3(static_cast<unsigned>(blocks)),
           dim3(threads),
           stages * stage_bytes + swizzle_bytes + static_cast<size_t>(groups.count()) * sizeof(int), a_map,
           b_map, c, groups, wgmma_shape{static_cast<int>(n), static_cast<int>(m)});
    return true;
}
