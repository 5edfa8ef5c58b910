/* Tiles on the ordinary cores: every type, every stride, full float32.
 *
 * A block of 256 threads; each owns 8 x 8 sums, rows and columns in two runs of 4. Of the two factors 128 x
 * 16 numbers at a time lie in shared memory as floats, [k][outer], in two buffers: the next numbers are
 * fetched into registers while the present ones are multiplied. A step reads 16 floats of shared memory for
 * 64 multiply-adds and thread, so that the adders are the limit. */
#ifndef BEAM_KERNELS_CUDA_FFMA_CUH
#define BEAM_KERNELS_CUDA_FFMA_CUH

#include "kernels/cuda/tile.cuh"

template <class A, class B> struct ffma_tiles {
    using a_type = A;
    using b_type = B;
    static constexpr int threads = 256, blocks = 1;
    static constexpr int deep = 16, line = tile_size + 4; /* k per buffer; floats from k to k */
    static constexpr size_t shared_bytes = 4 * deep * line * sizeof(float);

    /* This thread's two runs of 4 numbers of the 128 x 16, along the lines of the factor. */
    template <class Factor>
    static __device__ void fetch(pack<float, 4> x[2], const Factor &f, int outer_end, int k, int k_end)
    {
        for (int i = 0; i < 2; i++) {
            const int run = static_cast<int>(threadIdx.x) + threads * i;
            const int outer = f.along ? run / 4 : run % 32 * 4,
                      inner = k + (f.along ? run % 4 * 4 : run / 32);
            const int left =
                f.along ? (outer < outer_end ? k_end - inner : 0) : (inner < k_end ? outer_end - outer : 0);
            const auto *from = f.address(outer, inner);
            if (f.aligned && left >= 4)
                x[i] = load<4>(from);
            else
                for (int j = 0; j < 4; j++)
                    x[i].at[j] = j < left ? to_float(from[j]) : 0;
        }
    }

    static __device__ void keep(float *to, const pack<float, 4> x[2], bool along)
    {
        for (int i = 0; i < 2; i++) {
            const int run = static_cast<int>(threadIdx.x) + threads * i;
            if (along)
                for (int j = 0; j < 4; j++)
                    to[(run % 4 * 4 + j) * line + run / 4] = x[i].at[j];
            else
                store(to + run / 32 * line + run % 32 * 4, x[i]);
        }
    }

    static __device__ void multiply(float sum[8][8], const float *a, const float *b)
    {
        const int row = static_cast<int>(threadIdx.x) / 16 * 4,
                  column = static_cast<int>(threadIdx.x) % 16 * 4;
        BEAM_UNROLL
        for (int k = 0; k < deep; k++) {
            const pack<float, 4> x[2] = {load<4>(a + k * line + row), load<4>(a + k * line + row + 64)};
            const pack<float, 4> y[2] = {load<4>(b + k * line + column), load<4>(b + k * line + column + 64)};
            BEAM_UNROLL
            for (int i = 0; i < 8; i++) {
                BEAM_UNROLL
                for (int j = 0; j < 8; j++)
                    sum[i][j] = fmaf(x[i / 4].at[i % 4], y[j / 4].at[j % 4], sum[i][j]);
            }
        }
    }

    template <class Product, class Out>
    static __device__ void run(void *shared, const Product &p, const Out &out)
    {
        float *const buffer = static_cast<float *>(shared);
        float sum[8][8] = {};
        pack<float, 4> x[2], y[2];
        fetch(x, p.a, p.m, 0, p.k);
        fetch(y, p.b, p.n, 0, p.k);
        for (int k = 0, turn = 0; k < p.k; k += deep, turn ^= 1) {
            float *const a = buffer + 2 * turn * deep * line, *const b = a + deep * line;
            keep(a, x, p.a.along);
            keep(b, y, p.b.along);
            __syncthreads(); /* of the other buffer, too: nobody reads it any more */
            fetch(x, p.a, p.m, k + deep, p.k);
            fetch(y, p.b, p.n, k + deep, p.k);
            multiply(sum, a, b);
        }
        __syncthreads(); /* the buffers are free for another tile */
        const int row = static_cast<int>(threadIdx.x) / 16 * 4,
                  column = static_cast<int>(threadIdx.x) % 16 * 4;
        BEAM_UNROLL
        for (int i = 0; i < 8; i++) {
            const int r = row + i / 4 * 64 + i % 4;
            BEAM_UNROLL
            for (int j = 0; j < 8; j += 4) {
                const int c = column + j / 4 * 64;
                if (r < p.m)
                    out.template put_run<4>(r, c, p.n - c,
                                            {{sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]}});
            }
        }
    }
};

#endif
