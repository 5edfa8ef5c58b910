/* The reference backend: its table and its memory, which is the host's. */
#include "ops/reference.h"

#include <stdlib.h>
#include <string.h>

#include "core/arena.h"

static void *host_alloc(beam_backend *be, size_t bytes)
{
    (void)be;
    return aligned_alloc(BEAM_ALIGN, (bytes + BEAM_ALIGN - 1) / BEAM_ALIGN * BEAM_ALIGN);
}

static void host_free(beam_backend *be, void *p)
{
    (void)be;
    free(p);
}

static void host_upload(beam_backend *be, void *to, const void *from, size_t bytes)
{
    (void)be;
    memcpy(to, from, bytes);
}

static void host_zero(beam_backend *be, void *p, size_t bytes)
{
    (void)be;
    memset(p, 0, bytes);
}

static void nothing(beam_backend *be)
{
    (void)be;
}

static void copy(beam_backend *be, beam_tensor y, beam_tensor x)
{
    (void)be;
    memcpy(y.data, x.data, beam_bytes(x));
}

static void add(beam_backend *be, beam_tensor y, beam_tensor x)
{
    (void)be;
    for (int64_t i = 0; i < beam_count(y); i++)
        reference_f64(y)[i] += reference_f64(x)[i];
}

static const beam_ops reference_ops = {
    .name = "reference",
    .alloc = host_alloc,
    .free = host_free,
    .upload = host_upload,
    .download = host_upload,
    .zero = host_zero,
    .sync = nothing,
    .close = nothing,
    .copy = copy,
    .add = add,
    .gemm = reference_gemm,
    .add_bias = reference_add_bias,
    .bias_grad = reference_bias_grad,
    .clip = reference_clip,
    .clip_grad = reference_clip_grad,
    .add_gated = reference_add_gated,
    .add_gated_grad = reference_add_gated_grad,
    .embed = reference_embed,
    .embed_grad = reference_embed_grad,
    .rmsnorm = reference_rmsnorm,
    .rmsnorm_grad = reference_rmsnorm_grad,
    .rope = reference_rope,
    .latent_keys = reference_latent_keys,
    .latent_keys_grad = reference_latent_keys_grad,
    .attention = reference_attention,
    .attention_grad = reference_attention_grad,
    .swiglu = reference_swiglu,
    .swiglu_grad = reference_swiglu_grad,
    .cross_entropy = reference_cross_entropy,
    .distill = reference_distill,
    .router_topk = reference_router_topk,
    .router_grad = reference_router_grad,
    .router_load = reference_router_load,
    .gate_open = reference_gate_open,
    .mask_gate = reference_mask_gate,
    .mask_gate_grad = reference_mask_gate_grad,
    .union_penalty = reference_union_penalty,
    .give_back = reference_give_back,
    .give_back_grad = reference_give_back_grad,
    .mask_stats = reference_mask_stats,
    .route_plan = reference_route_plan,
    .route_gather = reference_route_gather,
    .route_gather_grad = reference_route_gather_grad,
    .route_combine = reference_route_combine,
    .route_weights = reference_route_weights,
    .route_pairs = reference_route_pairs,
    .pair_grad = reference_pair_grad,
    .grouped_gemm = reference_grouped_gemm,
    .grouped_wgrad = reference_grouped_wgrad,
    .expert_peaks = reference_expert_peaks,
    .adamw = reference_adamw,
    .sum_squares = reference_sum_squares,
};

beam_backend reference_backend(void)
{
    return (beam_backend){.ops = &reference_ops, .real = BEAM_F64, .wide = BEAM_F64, .threads = 1};
}
