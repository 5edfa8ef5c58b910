/* The table of the CUDA backend. An op that is not written yet is absent, which the front reports. */
#include "kernels/cuda/cuda.h"

const beam_ops beam_cuda_ops = {
    .name = "cuda",
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

    /* Mask gates. */
    .mask_stats = beam_cuda_mask_stats,

    /* Routes. */

    /* Experts. */

    /* Update. */
    .adamw = beam_cuda_adamw,
    .sum_squares = beam_cuda_sum_squares,
};
