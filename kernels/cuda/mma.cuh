/* Tiles of bf16 on tensor cores (mma.sync m16n8k16, float32 sums), for factors whose lines are aligned.
 *
 * A block of 4 warps, each with 64 x 64 of the tile. Of the two factors 128 x 64 numbers at a time (32 KiB)
 * lie in shared memory, in three buffers filled by cp.async: two are on their way while one is multiplied.
 * Two blocks share a processor (2 x 96 KiB, 128 x 2 threads with up to 255 registers), so that one multiplies
 * while the other stores its tile.
 *
 * Why this size: a warp reads 2 x 64 x 16 numbers (4 KiB, 32 cycles at 128 B/cycle) of shared memory for
 * 64 x 64 x 16 multiply-adds, which mma.sync needs about 50 cycles for: the tensor cores are the limit inside
 * a processor. Outside, a tile reads 512 B for 128 x 128 multiply-adds, 64 FLOP/B: at the 5.5 TB/s of an
 * H200's L2 cache 350 TFLOP/s, which is the limit of this kernel.
 *
 * Numbers lie in shared memory in lines, as in the factor: [outer][k] along k, [k][outer] across it. Chunks
 * of 8 numbers (16 B) of a line are permuted by the line's number, so that the 8 chunks of a column of a
 * matrix that ldmatrix reads are in 8 different groups of banks. */
#ifndef BEAM_KERNELS_CUDA_MMA_CUH
#define BEAM_KERNELS_CUDA_MMA_CUH

#include "kernels/cuda/tile.cuh"

/* Whether lines of the factors lie along k, known while compiling. */
template <bool AlongA, bool AlongB> struct mma_tiles {
    using a_type = bf16;
    using b_type = bf16;
    static constexpr int threads = 128, blocks = 2;
    static constexpr int deep = 64, stages = 3;
    static constexpr int part_bytes = tile_size * deep * 2, stage_bytes = 2 * part_bytes;
    static constexpr size_t shared_bytes = stages * stage_bytes;

    static __device__ int thread()
    {
        return static_cast<int>(threadIdx.x);
    }

    template <bool Along> static __device__ const bf16 *place(const factor<bf16> &f, int64_t outer, int64_t k)
    {
        return f.at + (Along ? outer * f.step + k : k * f.step + outer);
    }

    template <bool Along>
    static __device__ const bf16 *place(const gathered<bf16> &f, int64_t outer, int64_t k)
    {
        static_assert(Along);
        return f.address(outer, k);
    }

    /* Starts the copy of 128 x 64 numbers, those behind the ends as 0. */
    template <bool Along, class Factor>
    static __device__ void copy(unsigned char *to, const Factor &f, int outer_end, int k, int k_end)
    {
        constexpr int chunks = (Along ? deep : tile_size) / 8; /* of a line */
        constexpr int lines = threads / chunks; /* in one round of the block; a multiple of 8 */
        const int chunk = thread() % chunks, line = thread() / chunks;
        unsigned char *slot = to + (line * chunks + (chunk ^ line % 8)) * 16;
        BEAM_UNROLL
        for (int i = 0; i < part_bytes / 16 / threads; i++) {
            const int l = line + i * lines;
            const int outer = Along ? l : chunk * 8, inner = k + (Along ? chunk * 8 : l);
            const int left =
                Along ? (outer < outer_end ? k_end - inner : 0) : (inner < k_end ? outer_end - outer : 0);
            const int used = left < 0 ? 0 : left > 8 ? 8 : left;
            ptx_copy_async(slot + i * threads * 16, place<Along>(f, outer, inner), 2 * used);
        }
    }

    template <class Product>
    static __device__ void copy_stage(unsigned char *shared, int step, const Product &p)
    {
        unsigned char *to = shared + step % stages * stage_bytes;
        if (step * deep < p.k) {
            copy<AlongA>(to, p.a, p.m, step * deep, p.k);
            copy<AlongB>(to + part_bytes, p.b, p.n, step * deep, p.k);
        }
        ptx_copy_commit(); /* empty behind the end, so that the count of groups goes on */
    }

    /* The fragments of 16 x 16 numbers at (outer, k): four matrices of 8 x 8, of which this lane points to a
     * line of the matrix in the given half of each direction. */
    template <bool Along>
    static __device__ void fragments(uint32_t r[4], const unsigned char *part, int outer, int k,
                                     int half_outer, int half_k)
    {
        const int l = thread() % 8;
        outer += 8 * half_outer;
        k += 8 * half_k;
        if (Along)
            ptx_load_matrices(r, part + (outer + l) * deep * 2 + (k / 8 ^ l) * 16);
        else
            ptx_load_matrices_transposed(r, part + (k + l) * tile_size * 2 + (outer / 8 ^ l) * 16);
    }

    static __device__ void multiply(float sum[4][8][4], const unsigned char *stage, int row, int column)
    {
        const int matrix = thread() % 32 / 8;
        BEAM_UNROLL
        for (int k = 0; k < deep; k += 16) {
            uint32_t a[4][4], b[4][4]; /* b: two groups of 8 columns each */
            BEAM_UNROLL
            for (int i = 0; i < 4; i++)
                fragments<AlongA>(a[i], stage, row + 16 * i, k, matrix % 2, matrix / 2);
            BEAM_UNROLL
            for (int j = 0; j < 4; j++)
                fragments<AlongB>(b[j], stage + part_bytes, column + 16 * j, k, matrix / 2, matrix % 2);
            BEAM_UNROLL
            for (int i = 0; i < 4; i++) {
                BEAM_UNROLL
                for (int j = 0; j < 8; j++)
                    ptx_mma_bf16(sum[i][j], a[i], b[j / 2] + j % 2 * 2);
            }
        }
    }

    template <class Product, class Out>
    static __device__ void run(void *memory, const Product &p, const Out &out)
    {
        unsigned char *const shared = static_cast<unsigned char *>(memory);
        const int row = thread() / 64 * 64, column = thread() / 32 % 2 * 64;
        const bool busy = row < p.m && column < p.n; /* the same for the warp */
        float sum[4][8][4] = {};
        for (int step = 0; step < stages - 1; step++)
            copy_stage(shared, step, p);
        for (int step = 0; step * deep < p.k; step++) {
            ptx_copy_wait<stages - 2>();
            __syncthreads(); /* the step's numbers are there, and nobody reads those of the step before */
            copy_stage(shared, step + stages - 1, p);
            if (busy)
                multiply(sum, shared + step % stages * stage_bytes, row, column);
        }
        ptx_copy_wait<0>();
        __syncthreads(); /* the buffers are free for another tile */
        if (!busy)
            return;
        BEAM_UNROLL
        for (int half = 0; half < 8; half++) { /* of the 16 rows of a fragment */
            const int i = half / 2, r = row + 8 * half + thread() % 32 / 4;
            BEAM_UNROLL
            for (int j = 0; j < 8; j += 2)
                out.put_groups(r, r < p.m, column + 8 * j, p.n, sum[i][j] + half % 2 * 2,
                               sum[i][j + 1] + half % 2 * 2);
        }
    }
};

#endif
