/* Time of one mixture layer on a GPU, beside the bytes it must read and the bandwidth that the same run
 * measures. Random weights of the shapes of three published models, bf16; real mask gates whose bias is set
 * so that Avg-K comes to what is asked for; every layer call with other tokens, so that experts come from
 * memory and not from the cache. Calls are replayed as a CUDA graph. Skipped (77) without a device. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cuda_runtime.h>

#include "serve/beam_moe.h"

namespace
{

constexpr int calls = 64, layers = 2, replays = 5;

struct shape {
    const char *name;
    int64_t D, E, K, F, S;
    bool normalize, shared_gate;
};

const shape shapes[] = {
    {"Qwen3-30B-A3B", 2048, 128, 8, 768, 0, true, false},
    {"Qwen1.5-MoE-A2.7B", 2048, 60, 4, 1408, 5632, false, true},
    {"DeepSeek-V2-Lite", 2048, 64, 6, 1408, 2816, false, false},
};

void need(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return;
    fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
    exit(1);
}

void need_layer(int code, const char *what)
{
    if (code == BEAM_MOE_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, beam_moe_error(code));
    exit(1);
}

__global__ void fill_kernel(uint16_t *x, int64_t n, uint32_t seed, float scale)
{
    for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < n;
         i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
        uint64_t h = (static_cast<uint64_t>(i) + 1) * 0x9e3779b97f4a7c15ull ^ seed * 0xd1342543de82ef95ull;
        h = (h ^ h >> 32) * 0xd6e8feb86659fd93ull;
        h = (h ^ h >> 32) * 0xd6e8feb86659fd93ull;
        const float uniform = static_cast<float>(h >> 40) * 0x1p-24f * 2 - 1; /* variance 1/3 */
        x[i] = static_cast<uint16_t>(__float_as_uint(uniform * 1.7320508f * scale) >> 16);
    }
}

__global__ void read_kernel(uint32_t *sink, const uint4 *x, int64_t n)
{
    uint32_t sum = 0;
    for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < n;
         i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
        const uint4 v = x[i];
        sum ^= v.x ^ v.y ^ v.z ^ v.w;
    }
    if (sum == 0x12345678u)
        sink[0] = sum;
}

void *room(size_t bytes)
{
    void *p = nullptr;
    need(cudaMalloc(&p, bytes), "memory of the device");
    return p;
}

beam_moe_matrix random_matrix(int64_t rows, int64_t width, uint32_t seed)
{
    uint16_t *p = static_cast<uint16_t *>(room(static_cast<size_t>(rows * width) * 2));
    fill_kernel<<<1024, 256>>>(p, rows * width, seed, 1 / sqrtf(static_cast<float>(width)));
    need(cudaGetLastError(), "filling");
    return {p, BEAM_MOE_BF16, 0};
}

beam_moe new_layer(const shape &s, uint32_t seed)
{
    beam_moe m = {};
    m.size = sizeof m;
    m.abi = BEAM_MOE_ABI;
    m.device = BEAM_MOE_CUDA;
    m.hidden_size = s.D;
    m.experts = s.E;
    m.top_k = s.K;
    m.expert_size = s.F;
    m.shared_size = s.S;
    m.hidden_type = BEAM_MOE_BF16;
    m.normalize = s.normalize;
    m.threshold = 0.5;
    m.router = random_matrix(s.E, s.D, seed);
    m.mask_router = random_matrix(s.E, s.D, seed + 1);
    m.mask_bias = static_cast<const float *>(room(static_cast<size_t>(s.E) * sizeof(float)));
    m.gate_up = random_matrix(s.E * 2 * s.F, s.D, seed + 2);
    m.down = random_matrix(s.E * s.D, s.F, seed + 3);
    if (s.S > 0) {
        m.shared_gate_up = random_matrix(2 * s.S, s.D, seed + 4);
        m.shared_down = random_matrix(s.D, s.S, seed + 5);
    }
    if (s.shared_gate)
        m.shared_gate = random_matrix(1, s.D, seed + 6);
    return m;
}

void free_layer(const beam_moe &m)
{
    const void *all[] = {m.router.data, m.mask_router.data,    m.mask_bias,        m.gate_up.data,
                         m.down.data,   m.shared_gate_up.data, m.shared_down.data, m.shared_gate.data};
    for (const void *p : all)
        cudaFree(const_cast<void *>(p));
}

void set_bias(const beam_moe &m, float bias)
{
    float all[1024];
    for (int64_t e = 0; e < m.experts; e++)
        all[e] = bias;
    need(cudaMemcpy(const_cast<float *>(m.mask_bias), all, static_cast<size_t>(m.experts) * sizeof(float),
                    cudaMemcpyHostToDevice),
         "setting a bias");
}

/* What all calls of a batch work with. */
struct bench {
    shape s;
    beam_moe layer[layers];
    int64_t batch;
    uint16_t *x, *y; /* [calls,batch,D] [batch,D] */
    void *workspace;
    size_t bytes;
    beam_moe_pairs pairs;
    int32_t *id; /* [batch,K] on the host */
    cudaStream_t stream;
};

/* Kept pairs and different experts of one call. */
struct route_count {
    double kept, distinct;
};

route_count count_call(bench &b, int call)
{
    const size_t pairs = static_cast<size_t>(b.batch * b.s.K);
    bool used[1024] = {};
    route_count n = {0, 0};
    need_layer(beam_moe_route(&b.layer[call % layers], b.x + call * b.batch * b.s.D, b.batch, &b.pairs,
                              b.workspace, b.bytes, b.stream),
               "routing");
    need(cudaStreamSynchronize(b.stream), "routing");
    need(cudaMemcpy(b.id, b.pairs.id, pairs * sizeof *b.id, cudaMemcpyDeviceToHost), "ids");
    for (size_t i = 0; i < pairs; i++)
        if (b.id[i] >= 0) {
            n.kept++;
            n.distinct += !used[b.id[i]];
            used[b.id[i]] = true;
        }
    return n;
}

route_count count_calls(bench &b)
{
    route_count all = {0, 0};
    for (int call = 0; call < calls; call++) {
        const route_count n = count_call(b, call);
        all.kept += n.kept / calls;
        all.distinct += n.distinct / calls;
    }
    return all;
}

/* Sets the bias with which so many candidates per token are kept. */
route_count calibrate(bench &b, double active)
{
    double low = -20, high = 20;
    route_count n = {0, 0};
    for (int i = 0; i < 16; i++) {
        const double bias = active >= static_cast<double>(b.s.K) ? 20 : (low + high) / 2;
        for (const beam_moe &m : b.layer)
            set_bias(m, static_cast<float>(bias));
        n = count_calls(b);
        (n.kept < active * static_cast<double>(b.batch) ? low : high) = bias;
        if (bias >= 20)
            break;
    }
    return n;
}

double milliseconds(cudaEvent_t from, cudaEvent_t to)
{
    float ms = 0;
    need(cudaEventSynchronize(to), "timing");
    need(cudaEventElapsedTime(&ms, from, to), "timing");
    return static_cast<double>(ms);
}

/* The best of a few, in milliseconds, of what `f` puts into the stream. */
template <class F> double best_time(cudaStream_t stream, F f)
{
    cudaEvent_t from, to;
    double best = 0;
    need(cudaEventCreate(&from), "an event");
    need(cudaEventCreate(&to), "an event");
    for (int i = 0; i <= replays; i++) { /* the first one warms up */
        need(cudaEventRecord(from, stream), "timing");
        f();
        need(cudaEventRecord(to, stream), "timing");
        const double ms = milliseconds(from, to);
        best = i == 0 ? INFINITY : ms < best ? ms : best;
    }
    cudaEventDestroy(from);
    cudaEventDestroy(to);
    return best;
}

/* Bytes per second at which weights are read front to back. */
double read_speed(const bench &b)
{
    const int64_t bytes = b.s.E * 2 * b.s.F * b.s.D * 2;
    uint32_t *sink = static_cast<uint32_t *>(room(sizeof *sink));
    const double ms = best_time(b.stream, [&] {
        read_kernel<<<2048, 512, 0, b.stream>>>(sink, static_cast<const uint4 *>(b.layer[0].gate_up.data),
                                                bytes / 16);
    });
    need(cudaGetLastError(), "reading");
    cudaFree(sink);
    return static_cast<double>(bytes) / ms * 1e3;
}

/* Seconds of one layer call. */
double layer_time(bench &b)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    need(cudaStreamBeginCapture(b.stream, cudaStreamCaptureModeGlobal), "capturing");
    for (int call = 0; call < calls; call++)
        need_layer(beam_moe_run(&b.layer[call % layers], b.x + call * b.batch * b.s.D, b.y, b.batch,
                                b.workspace, b.bytes, b.stream),
                   "a layer");
    need(cudaStreamEndCapture(b.stream, &graph), "capturing");
    need(cudaGraphInstantiate(&exec, graph, 0), "a graph");
    const double ms = best_time(b.stream, [&] { need(cudaGraphLaunch(exec, b.stream), "a replay"); });
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    return ms / 1e3 / calls;
}

void open_batch(bench *b, int64_t batch)
{
    const size_t pairs = static_cast<size_t>(batch * b->s.K) * 4, row = static_cast<size_t>(b->s.D) * 2;
    b->batch = batch;
    b->bytes = beam_moe_workspace(&b->layer[0], batch);
    b->workspace = room(b->bytes);
    b->x = static_cast<uint16_t *>(room(static_cast<size_t>(calls * batch) * row));
    b->y = static_cast<uint16_t *>(room(static_cast<size_t>(batch) * row));
    b->pairs = {static_cast<int32_t *>(room(pairs)), static_cast<float *>(room(pairs)), nullptr, nullptr};
    b->id = static_cast<int32_t *>(malloc(pairs));
    fill_kernel<<<1024, 256>>>(b->x, calls * batch * b->s.D, 99, 1);
    need(cudaDeviceSynchronize(), "filling");
}

void close_batch(const bench &b)
{
    void *const all[] = {b.workspace, b.x, b.y, b.pairs.id, b.pairs.weight};
    for (void *p : all)
        cudaFree(p);
    free(b.id);
}

void run_batch(bench *b, int64_t batch, double speed)
{
    const double K = static_cast<double>(b->s.K), asked[] = {K, K / 2, 2, 1.2, 0.56};
    const double D = static_cast<double>(b->s.D), F = static_cast<double>(b->s.F);
    const double S = static_cast<double>(b->s.S), E = static_cast<double>(b->s.E);
    open_batch(b, batch);
    for (double active : asked) {
        const route_count n = calibrate(*b, active);
        const double bytes = 2 * (n.distinct * 3 * F * D + 3 * S * D + 2 * E * D), seconds = layer_time(*b);
        printf("%-18s %5lld %6.2f %6.1f %8.1f %8.1f %8.1f %6.1f%%\n", b->s.name,
               static_cast<long long>(batch), n.kept / static_cast<double>(batch), n.distinct, bytes / 1e6,
               bytes / speed * 1e6, seconds * 1e6, 100 * bytes / speed / seconds);
        fflush(stdout);
    }
    close_batch(*b);
}

void run_shape(const shape &s)
{
    const int64_t batches[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
    bench b = {};
    b.s = s;
    for (int i = 0; i < layers; i++)
        b.layer[i] = new_layer(s, static_cast<uint32_t>(10 * i + 1));
    need(cudaStreamCreateWithFlags(&b.stream, cudaStreamNonBlocking), "a stream");
    need(cudaDeviceSynchronize(), "filling");
    const double speed = read_speed(b);
    printf("\n%s: reads at %.0f GB/s\n%-18s %5s %6s %6s %8s %8s %8s %7s\n", s.name, speed / 1e9, "model",
           "batch", "Avg-K", "read", "MB", "bound us", "layer us", "bound");
    for (int64_t batch : batches)
        run_batch(&b, batch, speed);
    for (const beam_moe &m : b.layer)
        free_layer(m);
    cudaStreamDestroy(b.stream);
}

} // namespace

int main()
{
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        printf("skipped: no CUDA device\n");
        return 77;
    }
    for (const shape &s : shapes)
        run_shape(s);
    return 0;
}
