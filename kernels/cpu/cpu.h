/* Every operation of the CPU backend, by the names of the table beam_ops (kernels/backend.h), which backend.c
 * fills with them. Each is one file or part of one file of this folder; kernels/ops.h says what it computes.
 * Shapes were checked by the front. */
#ifndef BEAM_KERNELS_CPU_CPU_H
#define BEAM_KERNELS_CPU_CPU_H

#include "kernels/backend.h"
#include "kernels/cpu/real.h"

/* Scratch of the op that runs, allocated with the backend: no op calls malloc. */
enum { BEAM_CPU_SCRATCH = 16 << 20 }; /* bytes */

static inline void *beam_cpu_scratch(const beam_backend *be)
{
    return be->impl;
}

/* Dense. */
void beam_cpu_copy(beam_backend *be, beam_tensor y, beam_tensor x);
void beam_cpu_add(beam_backend *be, beam_tensor y, beam_tensor x);
void beam_cpu_gemm(beam_backend *be, beam_tensor c, beam_tensor a, bool ta, beam_tensor b, bool tb,
                   double alpha, double beta);
void beam_cpu_add_bias(beam_backend *be, beam_tensor y, beam_tensor bias);
void beam_cpu_bias_grad(beam_backend *be, beam_tensor dbias, beam_tensor dy);
void beam_cpu_clip(beam_backend *be, beam_tensor x, double limit);
void beam_cpu_clip_grad(beam_backend *be, beam_tensor dx, beam_tensor x, double limit);
void beam_cpu_add_gated(beam_backend *be, beam_tensor y, beam_tensor x, beam_tensor score);
void beam_cpu_add_gated_grad(beam_backend *be, beam_tensor dx, beam_tensor dscore, beam_tensor dy,
                             beam_tensor x, beam_tensor score);
void beam_cpu_embed(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id);
void beam_cpu_embed_grad(beam_backend *be, beam_tensor dtable, beam_tensor dy, beam_tensor id);
void beam_cpu_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor inverse, beam_tensor x, beam_tensor weight,
                      double epsilon);
void beam_cpu_rmsnorm_grad(beam_backend *be, beam_tensor dx, beam_tensor dweight, beam_tensor dy,
                           beam_tensor x, beam_tensor weight, beam_tensor inverse, double beta);
void beam_cpu_rope(beam_backend *be, beam_tensor x, beam_tensor cosine, beam_tensor sine,
                   beam_tensor position, bool inverse);
void beam_cpu_latent_keys(beam_backend *be, beam_tensor k, beam_tensor own, beam_tensor shared);
void beam_cpu_latent_keys_grad(beam_backend *be, beam_tensor down, beam_tensor dshared, beam_tensor dk);
void beam_cpu_attention(beam_backend *be, beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k,
                        beam_tensor v, beam_sequences seq, beam_attention_rule rule);
void beam_cpu_attention_grad(beam_backend *be, beam_tensor dq, beam_tensor dk, beam_tensor dv,
                             beam_tensor dout, beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k,
                             beam_tensor v, beam_sequences seq, beam_attention_rule rule);
void beam_cpu_swiglu(beam_backend *be, beam_tensor y, beam_tensor gate_up, const beam_route *route,
                     beam_rows_of rows);
void beam_cpu_swiglu_grad(beam_backend *be, beam_tensor dgate_up, beam_tensor dy, beam_tensor gate_up);
void beam_cpu_cross_entropy(beam_backend *be, beam_tensor logits, beam_tensor target, beam_tensor loss,
                            beam_tensor correct, double grad_scale, bool want_grad);
void beam_cpu_distill(beam_backend *be, beam_tensor logits, beam_tensor teacher, beam_tensor target,
                      beam_tensor loss, beam_tensor divergence, beam_tensor correct,
                      const beam_distill_args *args);

/* Rows of the above, for kernels/decode: y[n] (it may be x) = x * weight / sqrt(mean(x^2) + epsilon), of
 * which the divisor's inverse is returned; pairs (i, i + half) of x turned by their angles, or back if sign
 * is -1. */
real beam_cpu_normalize_row(real *y, const real *x, const real *weight, int64_t n, double epsilon);
void beam_cpu_rotate(real *x, const real *cosine, const real *sine, int64_t half, real sign);

/* Mixture of experts. */
void beam_cpu_router_topk(beam_backend *be, const beam_route *route, beam_tensor prob, beam_tensor logits,
                          beam_router_rule rule);
void beam_cpu_router_grad(beam_backend *be, beam_tensor dlogits, beam_tensor dweight, const beam_route *route,
                          beam_tensor prob, beam_tensor dprob, beam_tensor counted, beam_router_rule rule);
void beam_cpu_router_load(beam_backend *be, beam_tensor load, const beam_route *route, beam_tensor prob,
                          beam_tensor counted);
void beam_cpu_gate_open(beam_backend *be, const beam_route *route, beam_prune_rule rule);
void beam_cpu_mask_gate(beam_backend *be, const beam_route *route, beam_tensor product,
                        const beam_gate_terms *terms);
void beam_cpu_mask_gate_grad(beam_backend *be, beam_tensor dproduct, beam_tensor dweight,
                             const beam_gate_terms *grad, const beam_route *route,
                             const beam_gate_grad_args *args);
void beam_cpu_union_penalty(beam_backend *be, beam_tensor dgate, beam_tensor sum, const beam_route *route,
                            beam_tensor counted, int64_t group, double weight);
void beam_cpu_give_back(beam_backend *be, beam_tensor y, beam_tensor given, const beam_route *route,
                        beam_mask_form form);
void beam_cpu_give_back_grad(beam_backend *be, beam_tensor dvector, beam_tensor dgiven, beam_tensor dy,
                             beam_tensor given, const beam_route *route, beam_mask_form form);
void beam_cpu_mask_stats(beam_backend *be, beam_tensor stats, const beam_route *route, beam_tensor counted);
void beam_cpu_route_plan(beam_backend *be, const beam_route *route);
void beam_cpu_route_gather(beam_backend *be, beam_tensor rows_x, beam_tensor x, const beam_route *route,
                           beam_rows_of rows);
void beam_cpu_route_gather_grad(beam_backend *be, beam_tensor dx, beam_tensor drows, const beam_route *route,
                                beam_rows_of rows);
void beam_cpu_route_combine(beam_backend *be, beam_tensor y, beam_tensor rows_y, const beam_route *route,
                            beam_mask_form form);
void beam_cpu_route_weights(beam_backend *be, beam_tensor rows, const beam_route *route, beam_mask_form form);
void beam_cpu_route_pairs(beam_backend *be, beam_tensor pairs, beam_tensor numbers, const beam_route *route,
                          beam_rows_of rows);
void beam_cpu_pair_grad(beam_backend *be, beam_tensor dot, const beam_pair_grads *out, beam_tensor dact,
                        beam_tensor gate_up, const beam_route *route, beam_rows_of rows);
void beam_cpu_grouped_gemm(beam_backend *be, const beam_grouped_product *p, const beam_route *route,
                           beam_rows_of rows);
void beam_cpu_grouped_wgrad(beam_backend *be, beam_tensor dw, beam_tensor dy, beam_tensor x,
                            const beam_route *route, beam_rows_of rows);
void beam_cpu_expert_peaks(beam_backend *be, beam_tensor peak, beam_tensor rows_out, beam_tensor counted,
                           const beam_route *route, beam_rows_of rows);

/* Update. */
void beam_cpu_adamw(beam_backend *be, beam_tensor value, beam_tensor grad, beam_tensor m, beam_tensor v,
                    const beam_adamw_args *args);
void beam_cpu_sum_squares(beam_backend *be, beam_tensor sum, beam_tensor x);

#endif
