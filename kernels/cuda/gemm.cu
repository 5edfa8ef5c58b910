/* C = alpha * op(A) op(B) + beta * C: by cuBLASLt where it is and can, else by tiles of this folder. Where
 * tiles are few, K is cut into chunks whose sums are added up in order; how, follows from the shape alone. */
#include "kernels/cuda/blas.h"
#include "kernels/cuda/ffma.cuh"
#include "kernels/cuda/mma.cuh"

constexpr int64_t wanted_blocks = 264; /* enough for two on each of an H200's 132 processors */
constexpr int64_t shortest_chunk = 512;

struct dense_shape {
    int m, n, k, chunk; /* chunk: of k */
};

/* Block x computes a tile, of chunk y of k; chunks behind one another in c. */
template <class Tiles, class T>
static __global__ void __launch_bounds__(Tiles::threads, Tiles::blocks)
    dense_kernel(tile_output<T> c, factor<typename Tiles::a_type> a, factor<typename Tiles::b_type> b,
                 dense_shape s)
{
    BEAM_SHARED_DYNAMIC(unsigned char, shared);
    const int high = (s.m + tile_size - 1) / tile_size, at = static_cast<int>(blockIdx.x);
    const int row = at % high * tile_size, column = at / high * tile_size;
    const int k = static_cast<int>(blockIdx.y) * s.chunk, left = s.k - k;
    c.c += blockIdx.y * static_cast<int64_t>(s.m) * s.n + row * c.step + column;
    Tiles::run(
        shared,
        tile_product<factor<typename Tiles::a_type>, factor<typename Tiles::b_type>>{
            a.from(row, k), b.from(column, k), s.m - row, s.n - column, left < s.chunk ? left : s.chunk},
        c);
}

template <class T>
static __global__ void add_chunks(tile_output<T> c, const float *partial, int chunks, int64_t n)
{
    const int64_t i = grid_thread();
    if (i >= n)
        return;
    float sum = 0;
    for (int chunk = 0; chunk < chunks; chunk++)
        sum += partial[chunk * n + i];
    c.put_run(0, i, 1, pack<float, 1>{{sum}});
}

static int chunks_of(const beam_backend *be, const dense_shape &s)
{
    const int64_t sums = static_cast<int64_t>(s.m) * s.n, tiles = tiles_of(s.m) * tiles_of(s.n);
    const int64_t room = static_cast<int64_t>(beam_cuda_scratch_bytes(be) / sizeof(float)) / sums;
    const int64_t chunks = min(min(wanted_blocks / tiles, s.k / shortest_chunk), room);
    return static_cast<int>(max(chunks, static_cast<int64_t>(1)));
}

template <class Tiles, class T>
static void run_tiles(beam_backend *be, tile_output<T> c, factor<typename Tiles::a_type> a,
                      factor<typename Tiles::b_type> b, dense_shape s)
{
    const unsigned tiles = static_cast<unsigned>(tiles_of(s.m) * tiles_of(s.n));
    const int chunks = chunks_of(be, s);
    if (chunks == 1) {
        launch(be, dense_kernel<Tiles, T>, dim3(tiles), dim3(Tiles::threads), Tiles::shared_bytes, c, a, b,
               s);
        return;
    }
    s.chunk = static_cast<int>(ceil_div(ceil_div(s.k, chunks), 64) * 64); /* keeps lines aligned */
    const int64_t n = static_cast<int64_t>(s.m) * s.n, cut = ceil_div(s.k, s.chunk);
    float *partial =
        static_cast<float *>(beam_cuda_scratch(be, static_cast<size_t>(cut * n) * sizeof(float)));
    launch(be, dense_kernel<Tiles, float>, dim3(tiles, static_cast<unsigned>(cut)), dim3(Tiles::threads),
           Tiles::shared_bytes, output_to<float>(partial, s.n, 1, 0), a, b, s);
    launch(be, add_chunks<T>, dim3(static_cast<unsigned>(ceil_div(n, threads_per_block))),
           dim3(threads_per_block), 0, c, partial, static_cast<int>(cut), n);
}

template <class T>
static void run_mma(beam_backend *be, tile_output<T> c, factor<bf16> a, factor<bf16> b, const dense_shape &s)
{
    if (a.along && b.along)
        run_tiles<mma_tiles<true, true>>(be, c, a, b, s);
    else if (a.along)
        run_tiles<mma_tiles<true, false>>(be, c, a, b, s);
    else if (b.along)
        run_tiles<mma_tiles<false, true>>(be, c, a, b, s);
    else
        run_tiles<mma_tiles<false, false>>(be, c, a, b, s);
}

template <class T, class A, class B>
static void run(beam_backend *be, tile_output<T> c, factor<A> a, factor<B> b, const dense_shape &s)
{
    if constexpr (std::is_same_v<A, bf16> && std::is_same_v<B, bf16>)
        if (a.aligned && b.aligned && c.aligned) {
            run_mma(be, c, a, b, s);
            return;
        }
    run_tiles<ffma_tiles<A, B>>(be, c, a, b, s);
}

void beam_cuda_gemm(beam_backend *be, beam_tensor c, beam_tensor a, bool ta, beam_tensor b, bool tb,
                    double alpha, double beta)
{
    const int64_t n = c.dim[c.ndim - 1], last = a.dim[a.ndim - 1];
    const int64_t m = n ? beam_count(c) / n : 0, k = ta ? (last ? beam_count(a) / last : a.dim[0]) : last;
    if (m == 0 || n == 0 || be->status || beam_cuda_blas_gemm(be, c, a, ta, b, tb, alpha, beta))
        return;
    const dense_shape s = {static_cast<int>(m), static_cast<int>(n), static_cast<int>(k),
                           static_cast<int>(k)};
    with_type(c.dtype, [&](auto of_c) {
        with_type(a.dtype, [&](auto of_a) {
            with_type(b.dtype, [&](auto of_b) {
                run(be, output_to<decltype(of_c)>(c.data, n, alpha, beta),
                    factor_of<decltype(of_a)>(a.data, last, !ta),
                    factor_of<decltype(of_b)>(b.data, b.dim[1], tb), s);
            });
        });
    });
}
