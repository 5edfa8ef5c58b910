/* Expert pass of decoded tokens over the list that decode_route.cu makes, in two phases. Up: a warp takes one
 * neuron of an active expert (its gate row and its up row), for all tokens of that expert. Down: a block
 * takes 8 columns of y, a warp one of them, through all active experts: every y has one owner and needs no
 * second pass. The blocks of the grid divide each phase evenly by bytes of weights. */
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/math.cuh"

namespace
{

using decode::warps;

constexpr int tile = 4; /* tokens that meet a row together: so many sums leave registers for two blocks */
constexpr int tile_tokens = 256; /* whose sums stand in shared memory; more come in several passes */
constexpr int line = 128;        /* bytes that a prefetch brings */

/* Two rows of weights and the rows of tokens that go with them: out[r] = silu(gate . x) * up . x, or the bare
 * product with the gate row. */
struct neuron {
    beam_decode_matrix matrix;
    int64_t gate, up;    /* rows of the matrix */
    const int32_t *pair; /* of each row; NULL: rows are tokens */
    int begin, end;
    float *out;
    int64_t stride;
    bool is_score;
};

template <class X> __device__ void run_neuron(const beam_decode_call &c, const neuron &u)
{
    const int D = c.hidden_size;
    for (int r = u.begin; r < u.end; r += tile)
        decode::with_tile<tile>(u.matrix, u.end - r, [&](auto *w, auto n) {
            const decltype(w) row[2] = {w + u.gate * D, w + u.up * D};
            const X *x[n];
            float sum[2][n];
            for (int j = 0; j < n; j++) {
                const int at = min(r + j, u.end - 1), token = u.pair ? u.pair[at] / c.top_k : at;
                x[j] = static_cast<const X *>(c.x) + static_cast<int64_t>(token) * D;
            }
            decode::dots(sum, row, x, D);
            for (int j = 0; j < n; j++)
                if (threadIdx.x % 32 == 0 && r + j < u.end)
                    u.out[(r + j) * u.stride] =
                        u.is_score ? sum[0][j] : sum[0][j] * sigmoid(sum[0][j]) * sum[1][j];
        });
}

/* Where rows f of gate and up stand (beam_interleave_row), from row `base` of the matrix. */
__device__ void place_rows(neuron *u, int64_t base, int f, int width)
{
    const int group = f / 8 * 8, n = min(width - group, 8);
    u->gate = base + 2 * group + (f - group);
    u->up = u->gate + n;
}

/* Unit number i: neurons of the active experts, those of the shared one, then its gate. */
__device__ neuron neuron_of(const beam_decode_call &c, int64_t i)
{
    const int F = c.expert_size, S = c.shared_size;
    const int64_t routed = static_cast<int64_t>(c.actives[0]) * F;
    neuron u = {};
    u.end = c.tokens;
    if (i < routed) {
        const int number = static_cast<int>(i / F), f = static_cast<int>(i % F);
        u.matrix = c.gate_up;
        u.pair = c.pair;
        u.begin = c.first[number];
        u.end = c.first[number + 1];
        u.stride = c.act_stride;
        u.out = c.act + f;
        place_rows(&u, static_cast<int64_t>(c.active[number]) * 2 * F, f, F);
    } else if (i < routed + S) {
        const int f = static_cast<int>(i - routed);
        u.matrix = c.shared_gate_up;
        u.stride = c.shared_stride;
        u.out = c.shared_act + f;
        place_rows(&u, 0, f, S);
    } else {
        u.matrix = c.shared_gate;
        u.stride = 1;
        u.out = c.shared_score;
        u.is_score = true;
    }
    return u;
}

/* The warps of a block go through its share side by side. */
template <class X> __device__ void phase_up(const beam_decode_call &c)
{
    const int64_t routed = static_cast<int64_t>(c.actives[0]) * c.expert_size;
    const int64_t units = routed + c.shared_size + (c.shared_gate.data ? 1 : 0);
    const int64_t end = units * (blockIdx.x + 1) / gridDim.x;
    for (int64_t i = units * blockIdx.x / gridDim.x + threadIdx.x / 32; i < end; i += warps)
        run_neuron<X>(c, neuron_of(c, i));
}

/* A row of a down projection and the activations that it meets. */
struct down_row {
    beam_decode_matrix matrix;
    int64_t row;
    int width;
    const int32_t *pair; /* NULL: rows are tokens */
    const float *act;
    int64_t stride; /* of act */
    int begin, end;
};

__device__ down_row row_of_expert(const beam_decode_call &c, int number, int column)
{
    return {c.down,          static_cast<int64_t>(c.active[number]) * c.hidden_size + column,
            c.expert_size,   c.pair,
            c.act,           c.act_stride,
            c.first[number], c.first[number + 1]};
}

/* Asks for the row while the warp is still busy with others. */
__device__ void prefetch(const down_row &d)
{
    const int64_t bytes = static_cast<int64_t>(d.width) * (d.matrix.is_bf16 ? 2 : 4);
    const char *from = static_cast<const char *>(d.matrix.data) + d.row * bytes;
    for (int64_t at = static_cast<int64_t>(threadIdx.x) % 32 * line; at < bytes; at += 32 * line)
        ptx_prefetch(from + at);
}

/* How the output of row r weighs. */
__device__ float weight_of(const beam_decode_call &c, const down_row &d, int r)
{
    if (d.pair)
        return c.weight[d.pair[r]];
    return c.shared_gate.data ? sigmoid(c.shared_score[r]) : 1;
}

/* sum[token - first token] += weight * <row, act>. One lane adds: a caller's pairs may name an expert twice
 * for one token. */
__device__ void add_row(const beam_decode_call &c, const down_row &d, float *sum, int first_token)
{
    for (int r = d.begin; r < d.end; r += tile)
        decode::with_tile<tile>(d.matrix, d.end - r, [&](auto *w, auto n) {
            const decltype(w) row[1] = {w + d.row * d.width};
            const float *x[n];
            float dot[1][n];
            for (int j = 0; j < n; j++)
                x[j] = d.act + min(r + j, d.end - 1) * d.stride;
            decode::dots(dot, row, x, d.width);
            for (int j = 0; j < n; j++)
                if (threadIdx.x % 32 == 0 && r + j < d.end) {
                    const int token = d.pair ? d.pair[r + j] / c.top_k : r + j;
                    float *to = sum + (token - first_token) * warps;
                    *to = fmaf(weight_of(c, d, r + j), dot[0][j], *to);
                }
        });
}

/* The first of rows [begin, end), which go by token, whose token is not below `token`. */
__device__ int lower_bound(const beam_decode_call &c, int begin, int end, int token)
{
    while (begin < end) {
        const int middle = begin + (end - begin) / 2;
        if (c.pair[middle] / c.top_k < token)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* One column of y for some tokens: experts in the order of their ids, then the shared one. */
__device__ void add_column(const beam_decode_call &c, float *sum, int first_token, int tokens, int column)
{
    const int actives = c.actives[0];
    for (int number = 0; number < actives; number++) {
        down_row d = row_of_expert(c, number, column);
        if (number + 1 < actives)
            prefetch(row_of_expert(c, number + 1, column));
        if (tokens < c.tokens) {
            d.begin = lower_bound(c, d.begin, d.end, first_token);
            d.end = lower_bound(c, d.begin, d.end, first_token + tokens);
        }
        add_row(c, d, sum, first_token);
    }
    if (c.shared_size > 0)
        add_row(c,
                {c.shared_down, column, c.shared_size, nullptr, c.shared_act, c.shared_stride, first_token,
                 first_token + tokens},
                sum, first_token);
}

/* What dropped candidates of a token give back to a column, in their order. */
__device__ float add_given(const beam_decode_call &c, float y, int64_t token, int column)
{
    for (int64_t i = token * c.top_k; i < (token + 1) * c.top_k; i++) {
        const bool dropped = c.id[i] < 0 || c.id[i] >= c.experts;
        if (!dropped || c.candidate[i] < 0 || c.candidate[i] >= c.experts)
            continue;
        const int64_t at = static_cast<int64_t>(c.candidate[i]) * c.hidden_size + column;
        const float given = c.give_back.is_bf16 ? to_float(static_cast<const bf16 *>(c.give_back.data)[at])
                                                : static_cast<const float *>(c.give_back.data)[at];
        y = fmaf(c.gain[i], given, y);
    }
    return y;
}

template <class X>
__device__ void write_columns(const beam_decode_call &c, const float *sum, int first_token, int tokens,
                              int first_column)
{
    for (int i = static_cast<int>(threadIdx.x); i < tokens * warps; i += warps * 32) {
        const int64_t token = first_token + i / warps;
        const int column = first_column + i % warps;
        if (column >= c.hidden_size)
            continue;
        const float y = c.give_back.data ? add_given(c, sum[i], token, column) : sum[i];
        static_cast<X *>(c.y)[token * c.hidden_size + column] = from_float<X>(y);
    }
}

template <class X> __device__ void phase_down(const beam_decode_call &c)
{
    BEAM_SHARED(float, sum, tile_tokens *warps); /* [tokens, columns] */
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int step = static_cast<int>(gridDim.x) * warps;
    for (int first = 0; first < c.tokens; first += tile_tokens) {
        const int tokens = min(c.tokens - first, tile_tokens);
        for (int column = static_cast<int>(blockIdx.x) * warps; column < c.hidden_size; column += step) {
            for (int i = lane; i < tokens; i += 32)
                sum[i * warps + warp] = 0;
            __syncwarp();
            if (column + warp < c.hidden_size)
                add_column(c, sum + warp, first, tokens, column + warp);
            __syncthreads();
            write_columns<X>(c, sum, first, tokens, column);
            __syncthreads();
        }
    }
}

#ifdef BEAM_SIMT

/* The host runs block after block, so that a grid cannot wait for itself: the phases are two launches. */
template <class X> __global__ void up_kernel(beam_decode_call c)
{
    phase_up<X>(c);
}

template <class X> __global__ void down_kernel(beam_decode_call c)
{
    phase_down<X>(c);
}

template <class X> bool run(const beam_decode_call &c, void *stream)
{
    const unsigned blocks = 3; /* several, each with several units */
    return decode::launch(up_kernel<X>, c, blocks, 0, stream) &&
           decode::launch(down_kernel<X>, c, blocks, 0, stream);
}

#else

constexpr int most_blocks = 2;     /* of a multiprocessor: so many registers do kernels leave */
constexpr int prefetched_rows = 8; /* down rows of a warp before the phases meet */

/* Waits for all blocks of the grid, which the launch has made resident together. */
__device__ void meet(int32_t *arrived)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrived, 1);
        while (ptx_load_acquire(arrived) < static_cast<int32_t>(gridDim.x)) {
        }
        __threadfence();
    }
    __syncthreads();
}

/* The first down rows need nothing of the first phase: memory stays busy while blocks wait. */
__device__ void prefetch_down(const beam_decode_call &c)
{
    const int column = static_cast<int>(blockIdx.x * warps + threadIdx.x / 32);
    const int rows = min(c.actives[0], prefetched_rows);
    for (int number = 0; number < rows && column < c.hidden_size; number++)
        prefetch(row_of_expert(c, number, column));
}

template <class X>
__global__ void __launch_bounds__(warps * 32, most_blocks) experts_kernel(beam_decode_call c)
{
    phase_up<X>(c);
    prefetch_down(c);
    meet(c.arrived + 1);
    phase_down<X>(c);
}

/* As many blocks as fit, since they must wait for each other. */
template <class X> bool run(const beam_decode_call &c, void *stream)
{
    int device = 0, processors = 0, blocks = 0;
    const void *kernel = reinterpret_cast<const void *>(experts_kernel<X>);
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess ||
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, experts_kernel<X>, warps * 32, 0) !=
            cudaSuccess ||
        blocks < 1)
        return false;
    const unsigned grid = static_cast<unsigned>(processors * (blocks < most_blocks ? blocks : most_blocks));
    void *arguments[] = {const_cast<beam_decode_call *>(&c)};
    return cudaLaunchCooperativeKernel(kernel, dim3(grid), dim3(warps * 32), arguments, 0,
                                       static_cast<cudaStream_t>(stream)) == cudaSuccess;
}

#endif

} // namespace

bool beam_decode_experts(const beam_decode_call *c, void *stream)
{
    return c->hidden_is_bf16 ? run<bf16>(*c, stream) : run<float>(*c, stream);
}
