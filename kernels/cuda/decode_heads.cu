/* What stands between the products of a decoded token. With few tokens a kernel here is as long as it waits
 * for memory: all that a block reads is asked for at once, and kept in shared memory until sums are known. */
#include "kernels/cuda/decode_step.h"
#include "kernels/cuda/reduce.cuh"

namespace
{

constexpr int norm_threads = 512, most_threads = 1024; /* of a block */

__device__ inline float inverse_of(float squares, int n, float epsilon)
{
    return 1 / sqrtf(squares / static_cast<float>(n) + epsilon);
}

/* A block takes a token. */
__global__ void __launch_bounds__(norm_threads)
    add_norm_kernel(float *y, float *x, const float *more, const float *weight, int n, float epsilon,
                    bool aligned)
{
    BEAM_SHARED_DYNAMIC(float, weighted); /* [n] */
    BEAM_SHARED(float, part, 32);
    const int64_t row = static_cast<int64_t>(blockIdx.x) * n;
    float sum = 0;
    cover<4>(n, aligned, threadIdx.x, norm_threads, [=, &sum](int64_t i, auto w) {
        pack<float, w> v = load<w>(x + row + i), by = load<w>(weight + i);
        if (more) {
            const pack<float, w> add = load<w>(more + row + i);
            for (int j = 0; j < w; j++)
                v.at[j] += add.at[j];
            store(x + row + i, v);
        }
        for (int j = 0; j < w; j++) {
            sum += v.at[j] * v.at[j];
            by.at[j] *= v.at[j];
        }
        store(weighted + i, by);
    });
    const float scale = inverse_of(block_sum(sum, part), n, epsilon);
    cover<4>(n, aligned, threadIdx.x, norm_threads, [=](int64_t i, auto w) {
        pack<float, w> v = load<w>(weighted + i);
        for (int j = 0; j < w; j++)
            v.at[j] *= scale;
        store(y + row + i, v);
    });
}

/* A kind of heads. A block takes one of a token's, or all of them where a norm is over all. */
struct kind {
    float *x, *cache;  /* nullptr: no cache */
    const float *norm; /* nullptr: none */
    int heads, width, together, normed, half;
    int first, positions; /* the first of its blocks; rows of the ring */
};

struct finish {
    kind of[BEAM_HEADS];
    const float *cosine, *sine;
    const int32_t *sequence, *position;
    int angles; /* positions that have some */
    float epsilon, limit;
};

__device__ inline float clip(float x, float limit)
{
    return x > limit ? limit : x < -limit ? -limit : x;
}

/* Number c of a head at `head`, turned by the angles of its pair. */
__device__ inline float turn(const float *head, int c, const float *cosine, const float *sine, int half,
                             int width)
{
    const int i = c - (width - 2 * half); /* among those that rotate */
    if (i < 0)
        return head[c];
    return i < half ? head[c] * cosine[i] - head[c + half] * sine[i]
                    : head[c] * cosine[i - half] + head[c - half] * sine[i - half];
}

/* Of a position's cosines and then its sines, number i. */
__device__ inline float angle(const finish &f, const kind &k, int position, int i)
{
    if (position < 0 || position >= f.angles)
        __trap();
    const int64_t first = static_cast<int64_t>(position) * k.half;
    return i < k.half ? f.cosine[first + i] : f.sine[first + i - k.half];
}

/* Grid: tokens, blocks of all kinds. */
__global__ void __launch_bounds__(most_threads) finish_kernel(finish f)
{
    BEAM_SHARED_DYNAMIC(float, row); /* the block's numbers, then the position's cosines, then its sines */
    BEAM_SHARED(float, part, 32);
    const int threads = static_cast<int>(blockDim.x), token = static_cast<int>(blockIdx.x);
    const int number = static_cast<int>(blockIdx.y);
    kind k = f.of[0];
    for (int i = 1; i < BEAM_HEADS; i++)
        if (number >= f.of[i].first)
            k = f.of[i];
    const int head = (number - k.first) * k.together, n = k.together * k.width;
    const int position = f.position[token];
    float *x = k.x + (static_cast<int64_t>(token) * k.heads + head) * k.width;
    const float *cosine = row + n, *sine = cosine + k.half;
    float sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < n + 2 * k.half; i += threads)
        if (i < k.normed) {
            const float v = x[i];
            sum += v * v;
            row[i] = v * k.norm[i];
        } else {
            row[i] = i < n ? x[i] : angle(f, k, position, i - n);
        }
    const float scale = inverse_of(block_sum(sum, part), max(k.normed, 1), f.epsilon);
    for (int i = static_cast<int>(threadIdx.x); i < n; i += threads)
        row[i] = clip(i < k.normed ? row[i] * scale : row[i], f.limit);
    __syncthreads();
    const int64_t slot =
        k.cache ? static_cast<int64_t>(f.sequence[token]) * k.heads * k.positions + position % k.positions
                : 0;
    for (int i = static_cast<int>(threadIdx.x); i < n; i += threads) {
        const int h = i / k.width, c = i % k.width;
        const float v = turn(row + h * k.width, c, cosine, sine, k.half, k.width);
        if (k.cache)
            k.cache[(slot + static_cast<int64_t>(head + h) * k.positions) * k.width + c] = v;
        else
            x[i] = v;
    }
}

/* `first`: blocks of the kinds before it. */
kind kind_of(const beam_heads &h, const beam_heads_rule &rule, int first)
{
    kind k = {};
    k.x = data_of<float>(h.x);
    k.heads = static_cast<int>(h.x.dim[1]);
    k.width = static_cast<int>(h.x.dim[2]);
    k.together = 1;
    if (h.norm.data) {
        k.norm = data_of<float>(h.norm);
        k.normed = static_cast<int>(h.norm.dim[0]);
        k.together = k.normed > k.width ? k.heads : 1;
    }
    if (h.rotates)
        k.half = static_cast<int>(rule.cosine.dim[1]);
    if (h.cache.data) {
        k.cache = data_of<float>(h.cache);
        k.positions = static_cast<int>(h.cache.dim[2]);
    }
    k.first = first;
    return k;
}

} // namespace

void beam_cuda_add_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor x, beam_tensor more,
                           beam_tensor weight, double epsilon)
{
    const int64_t n = weight.dim[0];
    launch(be, add_norm_kernel, static_cast<unsigned>(x.dim[0]), norm_threads,
           static_cast<size_t>(n) * sizeof(float), data_of<float>(y), data_of<float>(x), data_of<float>(more),
           data_of<float>(weight), n, epsilon, is_aligned<float>(n, y.data, x.data, more.data, weight.data));
}

void beam_cuda_finish_heads(beam_backend *be, const beam_heads *heads, int kinds, beam_heads_rule rule,
                            beam_places at)
{
    finish f = {{},
                data_of<float>(rule.cosine),
                data_of<float>(rule.sine),
                data_of<int32_t>(at.sequence),
                data_of<int32_t>(at.position),
                static_cast<int>(rule.cosine.dim[0]),
                static_cast<float>(rule.epsilon),
                rule.limit > 0 ? static_cast<float>(rule.limit) : INFINITY};
    int blocks = 0, most = 0; /* numbers of a block */
    for (int i = 0; i < BEAM_HEADS; i++) {
        if (i >= kinds) {
            f.of[i].first = INT32_MAX;
            continue;
        }
        const kind k = f.of[i] = kind_of(heads[i], rule, blocks);
        const int numbers = k.together * k.width + 2 * k.half;
        blocks += k.heads / k.together;
        most = numbers > most ? numbers : most;
    }
    const int threads = most > threads_per_block ? most_threads : threads_per_block;
    launch(be, finish_kernel, dim3(static_cast<unsigned>(heads[0].x.dim[0]), static_cast<unsigned>(blocks)),
           threads, static_cast<size_t>(most) * sizeof(float), f);
}
