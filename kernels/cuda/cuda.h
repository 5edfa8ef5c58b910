/* Every operation of the CUDA backend, by the names of the table beam_ops (kernels/backend.h), which table.c
 * fills with those that are written. Each is one .cu file or part of one; kernels/ops.h says what it
 * computes. Shapes were checked by the front.
 *
 * The same files build twice: with nvcc for the device, and with a C++ compiler over simt.h, where kernels
 * run on the processor. device.cu and simt_device.cc provide the memory of the one and the other. */
#ifndef BEAM_KERNELS_CUDA_CUDA_H
#define BEAM_KERNELS_CUDA_CUDA_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int device, processors; /* streaming multiprocessors */
    void *stream;           /* cudaStream_t; NULL on the host */
    void *blas;             /* kernels/cuda/blas.h; NULL: none */
    void *tensor_map;       /* kernels/cuda/wgmma.h; NULL: none */
    void *cudnn;            /* kernels/cuda/cudnn.h; NULL: none */
    void *scratch;
    size_t scratch_bytes;
} beam_cuda_impl;

/* Scratch of the op that runs, on the device, allocated with the backend: no op allocates, but for the first
 * use of a shape by cuDNN, which may enlarge it. Ops run one after another, so that all may use it from its
 * beginning. */
static inline size_t beam_cuda_scratch_bytes(const beam_backend *be)
{
    return ((const beam_cuda_impl *)be->impl)->scratch_bytes;
}

static inline void *beam_cuda_scratch(const beam_backend *be, size_t bytes)
{
    BEAM_ASSERT(bytes <= beam_cuda_scratch_bytes(be));
    return ((const beam_cuda_impl *)be->impl)->scratch;
}

/* For kernels whose blocks share out work among themselves; the sums must not depend on it. */
static inline int beam_cuda_processors(const beam_backend *be)
{
    return ((const beam_cuda_impl *)be->impl)->processors;
}

extern const beam_ops beam_cuda_ops;

/* The backend "simt": the kernels of the device, run on the processor by simt.h, to test them without a GPU.
 * real is f32 or bf16. Close with beam_backend_close. */
beam_status beam_backend_simt(beam_backend *out, beam_dtype real);

/* Lets the simulated threads and blocks of later launches run in the opposite order: what a kernel computes
 * must not depend on it. */
void beam_simt_backwards(bool backwards);

/* Kernels launched so far, or written down in recordings. */
int64_t beam_simt_launches(void);

/* Memory. */
void *beam_cuda_alloc(beam_backend *be, size_t bytes);
void beam_cuda_free(beam_backend *be, void *p);
void beam_cuda_upload(beam_backend *be, void *device, const void *host, size_t bytes);
void beam_cuda_download(beam_backend *be, void *host, const void *device, size_t bytes);
void beam_cuda_zero(beam_backend *be, void *device, size_t bytes);
void beam_cuda_sync(beam_backend *be);
void beam_cuda_close(beam_backend *be);
/* Between two places of the device. */
void beam_cuda_move(beam_backend *be, void *to, const void *from, size_t bytes);

/* Dense. */
void beam_cuda_copy(beam_backend *be, beam_tensor y, beam_tensor x);
void beam_cuda_add(beam_backend *be, beam_tensor y, beam_tensor x);
void beam_cuda_gemm(beam_backend *be, beam_tensor c, beam_tensor a, bool ta, beam_tensor b, bool tb,
                    double alpha, double beta);
void beam_cuda_add_bias(beam_backend *be, beam_tensor y, beam_tensor bias);
void beam_cuda_bias_grad(beam_backend *be, beam_tensor dbias, beam_tensor dy);
void beam_cuda_clip(beam_backend *be, beam_tensor x, double limit);
void beam_cuda_clip_grad(beam_backend *be, beam_tensor dx, beam_tensor x, double limit);
void beam_cuda_add_gated(beam_backend *be, beam_tensor y, beam_tensor x, beam_tensor score);
void beam_cuda_add_gated_grad(beam_backend *be, beam_tensor dx, beam_tensor dscore, beam_tensor dy,
                              beam_tensor x, beam_tensor score);
void beam_cuda_embed(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id);
void beam_cuda_embed_grad(beam_backend *be, beam_tensor dtable, beam_tensor dy, beam_tensor id);
void beam_cuda_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor inverse, beam_tensor x,
                       beam_tensor weight, double epsilon);
void beam_cuda_rmsnorm_grad(beam_backend *be, beam_tensor dx, beam_tensor dweight, beam_tensor dy,
                            beam_tensor x, beam_tensor weight, beam_tensor inverse, double beta);
void beam_cuda_rope(beam_backend *be, beam_tensor x, beam_tensor cosine, beam_tensor sine,
                    beam_tensor position, bool inverse);
void beam_cuda_latent_keys(beam_backend *be, beam_tensor k, beam_tensor own, beam_tensor shared);
void beam_cuda_latent_keys_grad(beam_backend *be, beam_tensor down, beam_tensor dshared, beam_tensor dk);
void beam_cuda_attention(beam_backend *be, beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k,
                         beam_tensor v, beam_sequences seq, beam_attention_rule rule);
void beam_cuda_attention_grad(beam_backend *be, beam_tensor dq, beam_tensor dk, beam_tensor dv,
                              beam_tensor dout, beam_tensor out, beam_tensor lse, beam_tensor q,
                              beam_tensor k, beam_tensor v, beam_sequences seq, beam_attention_rule rule);
void beam_cuda_swiglu(beam_backend *be, beam_tensor y, beam_tensor gate_up, const beam_route *route,
                      beam_rows_of rows);
void beam_cuda_swiglu_grad(beam_backend *be, beam_tensor dgate_up, beam_tensor dy, beam_tensor gate_up);
void beam_cuda_cross_entropy(beam_backend *be, beam_tensor logits, beam_tensor target, beam_tensor loss,
                             beam_tensor correct, double grad_scale, bool want_grad);
void beam_cuda_distill(beam_backend *be, beam_tensor logits, beam_tensor teacher, beam_tensor target,
                       beam_tensor loss, beam_tensor divergence, beam_tensor correct,
                       const beam_distill_args *args);

/* Mixture of experts. */
void beam_cuda_router_topk(beam_backend *be, const beam_route *route, beam_tensor prob, beam_tensor logits,
                           beam_router_rule rule);
void beam_cuda_router_grad(beam_backend *be, beam_tensor dlogits, beam_tensor dweight,
                           const beam_route *route, beam_tensor prob, beam_tensor dprob, beam_tensor counted,
                           beam_router_rule rule);
void beam_cuda_router_load(beam_backend *be, beam_tensor load, const beam_route *route, beam_tensor prob,
                           beam_tensor counted);
void beam_cuda_gate_open(beam_backend *be, const beam_route *route, beam_prune_rule rule);
void beam_cuda_mask_gate(beam_backend *be, const beam_route *route, beam_tensor product,
                         const beam_gate_terms *terms);
void beam_cuda_mask_gate_grad(beam_backend *be, beam_tensor dproduct, beam_tensor dweight,
                              const beam_gate_terms *grad, const beam_route *route,
                              const beam_gate_grad_args *args);
void beam_cuda_union_penalty(beam_backend *be, beam_tensor dgate, beam_tensor sum, const beam_route *route,
                             beam_tensor counted, int64_t group, double weight);
void beam_cuda_give_back(beam_backend *be, beam_tensor y, beam_tensor given, const beam_route *route,
                         beam_mask_form form);
void beam_cuda_give_back_grad(beam_backend *be, beam_tensor dvector, beam_tensor dgiven, beam_tensor dy,
                              beam_tensor given, const beam_route *route, beam_mask_form form);
void beam_cuda_mask_stats(beam_backend *be, beam_tensor stats, const beam_route *route, beam_tensor counted);
void beam_cuda_route_plan(beam_backend *be, const beam_route *route);
void beam_cuda_route_gather(beam_backend *be, beam_tensor rows_x, beam_tensor x, const beam_route *route,
                            beam_rows_of rows);
void beam_cuda_route_gather_grad(beam_backend *be, beam_tensor dx, beam_tensor drows, const beam_route *route,
                                 beam_rows_of rows);
void beam_cuda_route_combine(beam_backend *be, beam_tensor y, beam_tensor rows_y, const beam_route *route,
                             beam_mask_form form);
void beam_cuda_route_weights(beam_backend *be, beam_tensor rows, const beam_route *route,
                             beam_mask_form form);
void beam_cuda_route_pairs(beam_backend *be, beam_tensor pairs, beam_tensor numbers, const beam_route *route,
                           beam_rows_of rows);
void beam_cuda_pair_grad(beam_backend *be, beam_tensor dot, const beam_pair_grads *out, beam_tensor dact,
                         beam_tensor gate_up, const beam_route *route, beam_rows_of rows);
void beam_cuda_grouped_gemm(beam_backend *be, const beam_grouped_product *p, const beam_route *route,
                            beam_rows_of rows);
void beam_cuda_grouped_wgrad(beam_backend *be, beam_tensor dw, beam_tensor dy, beam_tensor x,
                             const beam_route *route, beam_rows_of rows);
void beam_cuda_expert_peaks(beam_backend *be, beam_tensor peak, beam_tensor rows_out, beam_tensor counted,
                            const beam_route *route, beam_rows_of rows);

/* Update. */
void beam_cuda_adamw(beam_backend *be, beam_tensor value, beam_tensor grad, beam_tensor m, beam_tensor v,
                     const beam_adamw_args *args);
void beam_cuda_sum_squares(beam_backend *be, beam_tensor sum, beam_tensor x);

#ifdef __cplusplus
}
#endif
#endif
