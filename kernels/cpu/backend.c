/* The CPU backend: memory, copies, and the table of operations. */
#include <stdlib.h>
#include <string.h>

#include <cblas.h>
#include <omp.h>

#include "core/arena.h"
#include "kernels/cpu/cpu.h"
#ifndef BEAM_CPU_DOUBLE
#include "kernels/decode/cpu.h"
#endif

enum { BLOCK = 1 << 16 }; /* bytes, or elements, that one thread copies, clears or adds at a time */

static void *cpu_alloc(beam_backend *be, size_t bytes)
{
    void *p = NULL;
    if (bytes <= PTRDIFF_MAX && posix_memalign(&p, BEAM_ALIGN, bytes ? bytes : 1) == 0)
        return p;
    if (!be->status)
        be->status = BEAM_ENOMEM;
    return NULL;
}

static void cpu_free(beam_backend *be, void *p)
{
    (void)be;
    free(p);
}

static void copy_bytes(beam_backend *be, void *to, const void *from, size_t bytes)
{
    const size_t blocks = (bytes + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(be->threads)
    for (size_t i = 0; i < blocks; i++) {
        const size_t at = i * BLOCK, n = bytes - at < BLOCK ? bytes - at : BLOCK;
        memcpy((char *)to + at, (const char *)from + at, n);
    }
}

static void cpu_upload(beam_backend *be, void *device, const void *host, size_t bytes)
{
    copy_bytes(be, device, host, bytes);
}

static void cpu_download(beam_backend *be, void *host, const void *device, size_t bytes)
{
    copy_bytes(be, host, device, bytes);
}

static void cpu_zero(beam_backend *be, void *device, size_t bytes)
{
    const size_t blocks = (bytes + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(be->threads)
    for (size_t i = 0; i < blocks; i++) {
        const size_t at = i * BLOCK, n = bytes - at < BLOCK ? bytes - at : BLOCK;
        memset((char *)device + at, 0, n);
    }
}

/* Every op of this backend is done when it returns. */
static void cpu_sync(beam_backend *be)
{
    (void)be;
}

static void cpu_close(beam_backend *be)
{
    free(be->impl);
    be->impl = NULL;
}

void beam_cpu_copy(beam_backend *be, beam_tensor y, beam_tensor x)
{
    copy_bytes(be, y.data, x.data, beam_bytes(x));
}

void beam_cpu_add(beam_backend *be, beam_tensor y, beam_tensor x)
{
    const int64_t n = beam_count(y);
    real *to = beam_real(y);
    const real *from = beam_real(x);
#pragma omp parallel for simd num_threads(be->threads)
    for (int64_t i = 0; i < n; i++)
        to[i] += from[i];
}

static const beam_ops cpu_ops = {
    .name = "cpu",
#ifndef BEAM_CPU_DOUBLE /* decoding is in f32 */
    .decode = &beam_cpu_decode_ops,
#endif
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_upload,
    .download = cpu_download,
    .zero = cpu_zero,
    .sync = cpu_sync,
    .close = cpu_close,
    .copy = beam_cpu_copy,
    .add = beam_cpu_add,
    .gemm = beam_cpu_gemm,
    .add_bias = beam_cpu_add_bias,
    .bias_grad = beam_cpu_bias_grad,
    .clip = beam_cpu_clip,
    .clip_grad = beam_cpu_clip_grad,
    .add_gated = beam_cpu_add_gated,
    .add_gated_grad = beam_cpu_add_gated_grad,
    .embed = beam_cpu_embed,
    .embed_grad = beam_cpu_embed_grad,
    .rmsnorm = beam_cpu_rmsnorm,
    .rmsnorm_grad = beam_cpu_rmsnorm_grad,
    .rope = beam_cpu_rope,
    .latent_keys = beam_cpu_latent_keys,
    .latent_keys_grad = beam_cpu_latent_keys_grad,
    .attention = beam_cpu_attention,
    .attention_grad = beam_cpu_attention_grad,
    .swiglu = beam_cpu_swiglu,
    .swiglu_grad = beam_cpu_swiglu_grad,
    .cross_entropy = beam_cpu_cross_entropy,
    .distill = beam_cpu_distill,
    .router_topk = beam_cpu_router_topk,
    .router_grad = beam_cpu_router_grad,
    .router_load = beam_cpu_router_load,
    .gate_open = beam_cpu_gate_open,
    .mask_gate = beam_cpu_mask_gate,
    .mask_gate_grad = beam_cpu_mask_gate_grad,
    .union_penalty = beam_cpu_union_penalty,
    .give_back = beam_cpu_give_back,
    .give_back_grad = beam_cpu_give_back_grad,
    .mask_stats = beam_cpu_mask_stats,
    .route_plan = beam_cpu_route_plan,
    .route_gather = beam_cpu_route_gather,
    .route_gather_grad = beam_cpu_route_gather_grad,
    .route_combine = beam_cpu_route_combine,
    .route_weights = beam_cpu_route_weights,
    .route_pairs = beam_cpu_route_pairs,
    .pair_grad = beam_cpu_pair_grad,
    .grouped_gemm = beam_cpu_grouped_gemm,
    .grouped_wgrad = beam_cpu_grouped_wgrad,
    .expert_peaks = beam_cpu_expert_peaks,
    .adamw = beam_cpu_adamw,
    .sum_squares = beam_cpu_sum_squares,
};

beam_status beam_backend_cpu(beam_backend *out, int threads)
{
    const int most = omp_get_max_threads();
    *out = (beam_backend){
        .ops = &cpu_ops, .real = BEAM_REAL, .wide = BEAM_REAL, .threads = threads > 0 ? threads : most};
    if (posix_memalign(&out->impl, BEAM_ALIGN, BEAM_CPU_SCRATCH) != 0) {
        out->impl = NULL;
        out->status = BEAM_ENOMEM;
        return BEAM_FAIL(BEAM_ENOMEM, "cannot allocate %d bytes of scratch memory", BEAM_CPU_SCRATCH);
    }
    openblas_set_num_threads(1);
    omp_set_num_threads(most); /* OpenBLAS built with OpenMP has just set it to 1 for this thread */
    return BEAM_OK;
}
