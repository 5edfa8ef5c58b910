/* Losses of the next token, and their gradient in the place of the logits: cross entropy, and distillation. A
 * block takes a token and reads its row three times: for the largest, for the sums, for the gradient. */
#include "kernels/cuda/reduce.cuh"

constexpr int loss_threads = 512;

/* The largest of a row. NaN is not looked at: it shows in the sums. */
template <class T> static __device__ float top_of(const T *x, int64_t n, bool aligned, double *part)
{
    const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32;
    float top = -INFINITY;
    cover<vector_of<T>>(n, aligned, threadIdx.x, blockDim.x, [=, &top](int64_t i, auto w) {
        const pack<float, w> v = load<w>(x + i);
        for (int j = 0; j < w; j++)
            top = fmaxf(top, v.at[j]);
    });
    for (int bits = 16; bits > 0; bits /= 2)
        top = fmaxf(top, __shfl_xor_sync(whole_warp, top, bits));
    if (threadIdx.x % 32 == 0)
        part[warp] = static_cast<double>(top);
    __syncthreads();
    for (int i = 0; i < warps; i++)
        top = fmaxf(top, static_cast<float>(part[i]));
    __syncthreads();
    return top;
}

/* Whether x[target] is the largest, and the first that is; asked by the whole block. */
template <class T> static __device__ bool is_right(const T *x, int64_t target, float top)
{
    if (!(to_float(x[target]) >= top))
        return false;
    bool earlier = false;
    for (int64_t i = threadIdx.x; i < target; i += blockDim.x)
        earlier = earlier || to_float(x[i]) >= top;
    return !__syncthreads_or(earlier);
}

/* One softmax over a row: exp((x - top) * sharpness) / sum. */
struct soft_row {
    float top, sharpness;
    double sum;

    __device__ float exponential(float x) const
    {
        return expf((x - top) * sharpness);
    }
};

/* A row without a target. */
template <class T>
static __device__ void ignore_row(T *x, int64_t n, float *loss, uint8_t *correct, bool want_grad)
{
    if (threadIdx.x == 0) {
        *loss = 0;
        *correct = 0;
    }
    for (int64_t i = threadIdx.x; i < n && want_grad; i += blockDim.x)
        x[i] = from_float<T>(0);
}

/* x becomes hard * softmax(x) + value(i, x), less `hard` at the target. */
template <class T, class F>
static __device__ void write_grad(T *x, int64_t n, bool aligned, int64_t target, soft_row own, double hard,
                                  F further)
{
    const float scale = static_cast<float>(hard / own.sum), at_target = static_cast<float>(hard);
    cover<vector_of<T>>(n, aligned, threadIdx.x, blockDim.x, [=](int64_t i, auto w) {
        pack<float, w> v = load<w>(x + i);
        for (int j = 0; j < w; j++) {
            const float grad = scale * own.exponential(v.at[j]) + further(i + j, v.at[j]);
            v.at[j] = i + j == target ? grad - at_target : grad;
        }
        store(x + i, v);
    });
}

/* -log softmax(x)[target]. */
static __device__ float loss_of(soft_row own, float at_target)
{
    return static_cast<float>(log(own.sum) - (static_cast<double>(at_target) - static_cast<double>(own.top)));
}

template <class T>
static __global__ void cross_entropy_kernel(T *logits, const int32_t *target, float *loss, uint8_t *correct,
                                            int64_t n, double grad_scale, bool want_grad, bool aligned)
{
    BEAM_SHARED(double, part, 32);
    const int64_t t = blockIdx.x, id = target[t];
    T *x = logits + t * n;
    if (id < -1 || id >= n)
        __trap();
    if (id < 0) {
        ignore_row(x, n, loss + t, correct + t, want_grad);
        return;
    }
    soft_row own = {top_of(x, n, aligned, part), 1, 0};
    const bool right = is_right(x, id, own.top);
    const float at_target = to_float(x[id]);
    cover<vector_of<T>>(n, aligned, threadIdx.x, blockDim.x, [=, &own](int64_t i, auto w) {
        const pack<float, w> v = load<w>(x + i);
        for (int j = 0; j < w; j++)
            own.sum += static_cast<double>(own.exponential(v.at[j]));
    });
    own.sum = block_sum(own.sum, part); /* from here on a thread reads only what it writes */
    if (threadIdx.x == 0) {
        loss[t] = loss_of(own, at_target);
        correct[t] = right;
    }
    if (want_grad)
        write_grad(x, n, aligned, id, own, grad_scale, [](int64_t, float) { return 0.0f; });
}

/* tau^2 KL(softmax(y / tau) || softmax(x / tau)), and the sums of all three softmaxes. The logits'
 * differences are taken in double: equal rows give exactly 0. What has no probability in y adds nothing. */
template <class T>
static __device__ double divergence_of(const T *x, soft_row *own, soft_row *student, const T *y,
                                       soft_row *teacher, int64_t n, bool aligned, double *part)
{
    const double shift = static_cast<double>(student->top) - static_cast<double>(teacher->top);
    double apart = 0;
    cover<vector_of<T>>(n, aligned, threadIdx.x, blockDim.x, [=, &apart](int64_t i, auto w) {
        const pack<float, w> a = load<w>(x + i), b = load<w>(y + i);
        for (int j = 0; j < w; j++) {
            const double e = static_cast<double>(teacher->exponential(b.at[j]));
            own->sum += static_cast<double>(own->exponential(a.at[j]));
            student->sum += static_cast<double>(student->exponential(a.at[j]));
            teacher->sum += e;
            apart += e == 0 ? 0 : e * (static_cast<double>(b.at[j]) - static_cast<double>(a.at[j]) + shift);
        }
    });
    own->sum = block_sum(own->sum, part);
    student->sum = block_sum(student->sum, part);
    teacher->sum = block_sum(teacher->sum, part);
    const double sharpness = static_cast<double>(teacher->sharpness);
    const double kl =
        sharpness * block_sum(apart, part) / teacher->sum + log(student->sum) - log(teacher->sum);
    return kl < 0 ? 0 : kl / (sharpness * sharpness); /* below 0: the rounding of a value near it */
}

template <class T>
static __global__ void distill_kernel(T *logits, const T *teachers, const int32_t *target, float *loss,
                                      float *divergence, uint8_t *correct, int64_t n, beam_distill_args args,
                                      bool aligned)
{
    BEAM_SHARED(double, part, 32);
    const int64_t t = blockIdx.x, id = target[t];
    T *x = logits + t * n;
    const T *y = teachers + t * n;
    if (id < -1 || id >= n)
        __trap();
    if (id < 0) {
        ignore_row(x, n, loss + t, correct + t, args.want_grad);
        if (threadIdx.x == 0)
            divergence[t] = 0;
        return;
    }
    const float sharpness = static_cast<float>(1 / args.temperature);
    soft_row own = {top_of(x, n, aligned, part), 1, 0}, student = {own.top, sharpness, 0};
    soft_row teacher = {top_of(y, n, aligned, part), sharpness, 0};
    const bool right = is_right(x, id, own.top);
    const float at_target = to_float(x[id]);
    const double apart = divergence_of(x, &own, &student, y, &teacher, n, aligned, part);
    if (threadIdx.x == 0) {
        loss[t] = loss_of(own, at_target);
        divergence[t] = static_cast<float>(apart);
        correct[t] = right;
    }
    if (!args.want_grad)
        return;
    const double hard = args.grad_scale * (1 - args.weight),
                 soft = args.grad_scale * args.weight * args.temperature;
    const float b = static_cast<float>(soft / student.sum), c = static_cast<float>(soft / teacher.sum);
    const bool mixed = args.weight != 0;
    write_grad(x, n, aligned, id, own, hard, [=](int64_t i, float v) {
        return mixed ? b * student.exponential(v) - c * teacher.exponential(to_float(y[i])) : 0;
    });
}

void beam_cuda_cross_entropy(beam_backend *be, beam_tensor logits, beam_tensor target, beam_tensor loss,
                             beam_tensor correct, double grad_scale, bool want_grad)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const unsigned tokens = static_cast<unsigned>(logits.dim[0]);
        launch(be, cross_entropy_kernel<T>, tokens, loss_threads, 0, data_of<T>(logits),
               data_of<int32_t>(target), data_of<float>(loss), data_of<uint8_t>(correct), logits.dim[1],
               grad_scale, want_grad, is_aligned<T>(logits.dim[1], logits.data));
    });
}

void beam_cuda_distill(beam_backend *be, beam_tensor logits, beam_tensor teacher, beam_tensor target,
                       beam_tensor loss, beam_tensor divergence, beam_tensor correct,
                       const beam_distill_args *args)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const unsigned tokens = static_cast<unsigned>(logits.dim[0]);
        launch(be, distill_kernel<T>, tokens, loss_threads, 0, data_of<T>(logits), data_of<T>(teacher),
               data_of<int32_t>(target), data_of<float>(loss), data_of<float>(divergence),
               data_of<uint8_t>(correct), logits.dim[1], *args,
               is_aligned<T>(logits.dim[1], logits.data, teacher.data));
    });
}
