/* The table of the CUDA backend. An op that is not written yet is absent, which the front reports. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/decode_step.h"

const beam_ops beam_cuda_ops = {
    .name = "cuda",
    .decode = &beam_cuda_decode_ops,
    .alloc = beam_cuda_alloc,
    .free = beam_cuda_free,
    .upload = beam_cuda_upload,
    .download = beam_cuda_download,
    .zero = beam_cuda_zero,
    .sync = beam_cuda_sync,
    .close = beam_cuda_close,

    /* Dense. */
    .copy = beam_cuda_copy,
    .add = beam_cuda_add,
    .gemm = beam_cuda_gemm,

    /* Biases, limits, shared experts. */
    .add_bias = beam_cuda_add_bias,
    .bias_grad = beam_cuda_bias_grad,
    .clip = beam_cuda_clip,
    .clip_grad = beam_cuda_clip_grad,
    .add_gated = beam_cuda_add_gated,
    .add_gated_grad = beam_cuda_add_gated_grad,

    /* Rows. */
    .embed = beam_cuda_embed,
    .embed_grad = beam_cuda_embed_grad,
    .rmsnorm = beam_cuda_rmsnorm,
    .rmsnorm_grad = beam_cuda_rmsnorm_grad,
    .rope = beam_cuda_rope,

    /* Attention. */
    .attention = beam_cuda_attention,
    .attention_grad = beam_cuda_attention_grad,
    .latent_keys = beam_cuda_latent_keys,
    .latent_keys_grad = beam_cuda_latent_keys_grad,

    /* Activations. */
    .swiglu = beam_cuda_swiglu,
    .swiglu_grad = beam_cuda_swiglu_grad,

    /* Losses. */
    .cross_entropy = beam_cuda_cross_entropy,
    .distill = beam_cuda_distill,

    /* Routers. */
    .router_topk = beam_cuda_router_topk,
    .router_grad = beam_cuda_router_grad,
    .router_load = beam_cuda_router_load,

    /* Mask gates. */
    .gate_open = beam_cuda_gate_open,
    .mask_gate = beam_cuda_mask_gate,
    .mask_gate_grad = beam_cuda_mask_gate_grad,
    .union_penalty = beam_cuda_union_penalty,
    .give_back = beam_cuda_give_back,
    .give_back_grad = beam_cuda_give_back_grad,
    .mask_stats = beam_cuda_mask_stats,

    /* Routes. */
    .route_plan = beam_cuda_route_plan,
    .route_gather = beam_cuda_route_gather,
    .route_gather_grad = beam_cuda_route_gather_grad,
    .route_combine = beam_cuda_route_combine,
    .route_weights = beam_cuda_route_weights,
    .route_pairs = beam_cuda_route_pairs,
    .pair_grad = beam_cuda_pair_grad,

    /* Experts. */
    .grouped_gemm = beam_cuda_grouped_gemm,
    .grouped_wgrad = beam_cuda_grouped_wgrad,
    .expert_peaks = beam_cuda_expert_peaks,

    /* Update. */
    .adamw = beam_cuda_adamw,
    .sum_squares = beam_cuda_sum_squares,
};
