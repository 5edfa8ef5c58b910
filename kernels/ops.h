/* The calls that models, optimizers and tests make: shapes are checked here once, then the backend's op runs.
 * A wrong shape is a bug and stops the program. After a failure of the backend every op is a no-op.
 * Letters, `real` and `wide` as in kernels/backend.h; tensors are real unless said otherwise, gradients of
 * parameters (dbias, dtable, dweight, dw, dvector) wide. "+=" means that the op adds into its output. */
#ifndef BEAM_KERNELS_OPS_H
#define BEAM_KERNELS_OPS_H

#include "core/arena.h"
#include "kernels/backend.h"

/* Memory. */

/* Device memory, aligned to BEAM_ALIGN; NULL with BEAM_ENOMEM recorded in be->status and the message saying
 * how many bytes of `what` were asked for. Free accepts NULL. */
void *beam_alloc(beam_backend *be, size_t bytes, const char *what);
void beam_free(beam_backend *be, void *p);

/* beam_bytes(t) bytes. An upload waits for no work; `host` may be reused when it returns. A download waits
 * for all work before it, and zero-fills on failure. be->waits counts them. */
void beam_upload(beam_backend *be, beam_tensor t, const void *host);
void beam_download(beam_backend *be, void *host, beam_tensor t);
void beam_zero(beam_backend *be, beam_tensor t);

/* Waits for all work and returns the sticky status. Right after a download there is nothing to wait for. */
beam_status beam_sync(beam_backend *be);

void beam_backend_close(beam_backend *be);

/* Dense. */

/* y = x, of any one type, or between real and wide, rounded to nearest.  y += x, both real or both wide. */
void beam_copy(beam_backend *be, beam_tensor y, beam_tensor x);
void beam_add(beam_backend *be, beam_tensor y, beam_tensor x);

/* C[M,N] = alpha * op(A) op(B) + beta * C, op(X) = X or its transpose. With beta = 0, C is not read.
 * A and C with more than two dims count as [product of the leading dims, last dim]. Each of A, B, C is real
 * or wide. Models use: all real; C wide, the gradient of a weight; B and C wide, a router or gate; C wide and
 * one factor wide, the gradient of its weight; A and B wide, that of its input. */
void beam_gemm(beam_backend *be, beam_tensor c, beam_tensor a, bool ta, beam_tensor b, bool tb, double alpha,
               double beta);

/* y[.., N] += bias[N], both real or both wide;  dbias[N] += the sum of dy over its rows, in a fixed order. */
void beam_add_bias(beam_backend *be, beam_tensor y, beam_tensor bias);
void beam_bias_grad(beam_backend *be, beam_tensor dbias, beam_tensor dy);

/* x limited to [-limit, limit], in place (NaN stays). Backward: dx = 0 where |x| >= limit, with x from before
 * or after. */
void beam_clip(beam_backend *be, beam_tensor x, double limit);
void beam_clip_grad(beam_backend *be, beam_tensor dx, beam_tensor x, double limit);

/* y[T,D] += sigmoid(score[T]) x[T,D], score wide. Backward (both overwritten): dx = sigmoid(score) dy,
 * dscore = <dy, x> sigmoid'(score), wide. dx may be dy. */
void beam_add_gated(beam_backend *be, beam_tensor y, beam_tensor x, beam_tensor score);
void beam_add_gated_grad(beam_backend *be, beam_tensor dx, beam_tensor dscore, beam_tensor dy, beam_tensor x,
                         beam_tensor score);

/* y[T,D] = table[V,D][id[T]];  dtable[id] += dy, in the order of tokens. */
void beam_embed(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id);
void beam_embed_grad(beam_backend *be, beam_tensor dtable, beam_tensor dy, beam_tensor id);

/* Over the last dim N of x [.., N]: wide inverse[rows] = 1/sqrt(mean(x^2) + epsilon), y = x * inverse *
 * weight[N]. Backward: dx = beta * dx + ..., dweight += (optional). Zhang and Sennrich 2019,
 * arXiv:1910.07467. */
void beam_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor inverse, beam_tensor x, beam_tensor weight,
                  double epsilon);
void beam_rmsnorm_grad(beam_backend *be, beam_tensor dx, beam_tensor dweight, beam_tensor dy, beam_tensor x,
                       beam_tensor weight, beam_tensor inverse, double beta);

/* Rotates the last R numbers of each head of x [T,heads,Dh], R <= Dh, in place by the angle of its
 * position[T]: the halves (i, i + R/2) form the pairs, as in Hugging Face's rotate_half. wide cosine,
 * sine [P, R/2] hold every position; they may carry an amplitude. inverse = true is the backward pass (the
 * transpose).
 */
void beam_rope(beam_backend *be, beam_tensor x, beam_tensor cosine, beam_tensor sine, beam_tensor position,
               bool inverse);

/* Keys of latent attention (DeepSeek-V2, arXiv:2405.04434): k[T,H,N+R] = own[T,H,N], then shared[T,R], the
 * same for all heads. Backward (both overwritten): down[T,H,N]; dshared[T,R] = the sum over heads, in order.
 */
void beam_latent_keys(beam_backend *be, beam_tensor k, beam_tensor own, beam_tensor shared);
void beam_latent_keys_grad(beam_backend *be, beam_tensor down, beam_tensor dshared, beam_tensor dk);

/* Causal attention inside each sequence: out[t,h] = sum over the s that t sees of
 * softmax(scale * q[t,h] . k[s,h*G/H]) v[s,h*G/H]. q [T,H,Dh], k [T,G,Dh], v [T,G,Dv], out [T,H,Dv], G
 * divides H; lse wide [T,H] = log of the softmax denominator, for backward. Neither pass holds more than a
 * tile of the [T,T] scores, and tiles outside the window are not computed. dq, dk, dv are overwritten. */
void beam_attention(beam_backend *be, beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k,
                    beam_tensor v, beam_sequences seq, beam_attention_rule rule);
void beam_attention_grad(beam_backend *be, beam_tensor dq, beam_tensor dk, beam_tensor dv, beam_tensor dout,
                         beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k, beam_tensor v,
                         beam_sequences seq, beam_attention_rule rule);

/* y[N,F] = silu(gate) * up with gate and up from gate_up[N,2F], interleaved in groups of 8
 * (beam_interleave_row). route NULL: all rows; else the given rows of the grouped order. Backward, of all
 * rows: dgate_up is overwritten. */
void beam_swiglu(beam_backend *be, beam_tensor y, beam_tensor gate_up, const beam_route *route,
                 beam_rows_of rows);
void beam_swiglu_grad(beam_backend *be, beam_tensor dgate_up, beam_tensor dy, beam_tensor gate_up);

/* Where row f of the gate (up = 0) or up (up = 1) projection stands in the interleaved [2F,D] weight: groups
 * of 8 gate rows, then the 8 up rows that go with them; the last group is smaller when 8 does not divide F.
 * One layout serves training and decoding. */
static inline int64_t beam_interleave_row(int64_t f, int up, int64_t width)
{
    const int64_t group = f / 8 * 8, n = width - group < 8 ? width - group : 8;
    return 2 * group + (up ? n : 0) + (f - group);
}

/* logits [T,V], target i32 [T] in [0,V) or -1 (ignored). loss wide [T] = -log softmax(logits)[target], 0
 * where ignored; correct u8 [T] = the largest logit (lowest id on ties) is the target. want_grad: logits are
 * overwritten by grad_scale * (softmax - onehot), 0 where ignored. */
void beam_cross_entropy(beam_backend *be, beam_tensor logits, beam_tensor target, beam_tensor loss,
                        beam_tensor correct, double grad_scale, bool want_grad);

/* The same with a teacher's logits [T,V]: loss as above, divergence wide [T] =
 * tau^2 KL(softmax(teacher / tau) || softmax(logits / tau)), 0 where ignored. want_grad: logits become
 * grad_scale * d((1 - weight) * loss + weight * divergence); the teacher is left alone. */
void beam_distill(beam_backend *be, beam_tensor logits, beam_tensor teacher, beam_tensor target,
                  beam_tensor loss, beam_tensor divergence, beam_tensor correct,
                  const beam_distill_args *args);

/* Mixture of experts. */

/* Everything of routers and gates is wide.
 *
 * prob[T,E] = softmax(logits[T,E]); route.expert = the K largest that the rule allows (ties: lower id first,
 * of groups too), route.weight = their prob as the rule says. K <= kept_groups * (E / groups). In the ops of
 * routers E counts null experts too: the columns from the E of route.kept on. Their weight is 0; so is that
 * of all candidates that are to be normalised where the null ones leave them less than 1e-30 in all. */
void beam_router_topk(beam_backend *be, const beam_route *route, beam_tensor prob, beam_tensor logits,
                      beam_router_rule rule);

/* dlogits[T,E] (overwritten) from dweight[T,K], the gradient of route.weight (a constant 0 is that of a null
 * expert, so its dweight counts for nothing), plus, for counted tokens,
 * dprob[E] (optional): a gradient of every probability that is the same for all tokens (load balancing). */
void beam_router_grad(beam_backend *be, beam_tensor dlogits, beam_tensor dweight, const beam_route *route,
                      beam_tensor prob, beam_tensor dprob, beam_tensor counted, beam_router_rule rule);

/* load f64 [2,E] +=: over counted tokens, how often each expert is a candidate, and the sum of its
 * probability. */
void beam_router_load(beam_backend *be, beam_tensor load, const beam_route *route, beam_tensor prob,
                      beam_tensor counted);

/* No mask gate: candidates run as the rule says (at least one if keep > 0), q = 1, u = 0; kept weights are
 * multiplied by the rule's gain. Only pruning wants a gain other than 1; a mask never does. Null experts do
 * not run, and have q = 0. */
void beam_gate_open(beam_backend *be, const beam_route *route, beam_prune_rule rule);

/* u of every candidate from product[T,E] = x W_m^T and the other terms, q = sigmoid(u / temperature), m = (u
 * >= cutoff); NaN drops. Fills route.logit, gate, keep. Reads route.expert, weight. */
void beam_mask_gate(beam_backend *be, const beam_route *route, beam_tensor product,
                    const beam_gate_terms *terms);

/* With a, a', dgate and n (1 where the token is counted, else 0) of `args`, and r = penalty, or 2 q penalty
 * if squared:
 *   du = (g (a - a') + dgate + n r) q (1 - q) / temperature
 *   dproduct[T,E] = du at the candidates, 0 elsewhere (overwritten)
 *   dweight[T,K] = m a + (1 - m) a', with q for m in the soft form (overwritten)
 *   grad->bias, scale, rank_bias +=         (each optional; grad->cutoff and temperature are not used)
 * No gradient flows into g through log(K g'). */
void beam_mask_gate_grad(beam_backend *be, beam_tensor dproduct, beam_tensor dweight,
                         const beam_gate_terms *grad, const beam_route *route,
                         const beam_gate_grad_args *args);

/* Batch-union penalty (method: batch-union): what decoding `group` tokens at once would touch. Tokens i, i +
 * S, i + 2S, ... with S = T / group (rounded down, i < S) form a group: tokens far apart in the batch, so of
 * different sequences where rows are shorter than S. Over the counted tokens t of a group
 *   U = (1/E) sum over e of [1 - product over t with e in C_t of (1 - q_te)]
 * sum f64 [2] += (sum of U over groups with a counted token, number of such groups).
 * dgate[T,K] = weight * dU/dq (overwritten; 0 for tokens in no group or not counted). 1 <= group <= T. Reads
 * route.expert and gate; E is that of route.kept. */
void beam_union_penalty(beam_backend *be, beam_tensor dgate, beam_tensor sum, const beam_route *route,
                        beam_tensor counted, int64_t group, double weight);

/* What dropped experts give back (method: give-back): y[T,D] += sum over k of (1 - m) g given[expert], with q
 * for m in the soft form; given wide [E,D]. Backward: dgiven wide [T,K] = <dy[t], given[expert]>
 * (overwritten), dvector[E,D] += (optional), over the pairs of each expert in the grouped order. */
void beam_give_back(beam_backend *be, beam_tensor y, beam_tensor given, const beam_route *route,
                    beam_mask_form form);
void beam_give_back_grad(beam_backend *be, beam_tensor dvector, beam_tensor dgiven, beam_tensor dy,
                         beam_tensor given, const beam_route *route, beam_mask_form form);

/* stats f64 [BEAM_STAT_EXPERTS + E] += over counted tokens: their number, kept pairs, tokens with none kept,
 * sums of q and q^2 over candidates / K, and kept pairs per expert. */
void beam_mask_stats(beam_backend *be, beam_tensor stats, const beam_route *route, beam_tensor counted);

/* Groups the pairs by expert, kept pairs first, null experts last: fills row, pair, first, kept from expert
 * and keep. */
void beam_route_plan(beam_backend *be, const beam_route *route);

/* rows_x[R,D]: row r = x[token of pair r]. Backward: dx[T,D] += the sum over its rows, in the order of k. */
void beam_route_gather(beam_backend *be, beam_tensor rows_x, beam_tensor x, const beam_route *route,
                       beam_rows_of rows);
void beam_route_gather_grad(beam_backend *be, beam_tensor dx, beam_tensor drows, const beam_route *route,
                            beam_rows_of rows);

/* y[T,D] = sum over k of w rows_y[row(t,k)], w = g m (hard: dropped rows are not read) or g q (soft);
 * overwritten, exactly 0 for a token with nothing kept. */
void beam_route_combine(beam_backend *be, beam_tensor y, beam_tensor rows_y, const beam_route *route,
                        beam_mask_form form);

/* Numbers of pairs in the grouped order, and back: wide rows[R] = w of its pair, 0 behind all groups and, in
 * the hard form, for dropped pairs; wide pairs[T,K] = numbers[R] of the pair's row, for the pairs of the
 * given rows. */
void beam_route_weights(beam_backend *be, beam_tensor rows, const beam_route *route, beam_mask_form form);
void beam_route_pairs(beam_backend *be, beam_tensor pairs, beam_tensor numbers, const beam_route *route,
                      beam_rows_of rows);

/* Backward through combine and the activation, y = sum of w W a with a = swiglu(gate_up), over the given
 * rows. With dact[R,F] = W^T dy of the row's token, wide dot[R] = <dact, a> = <dy, W a>: what the expert's
 * output is worth, without that output. out NULL: rows that do not run, of which dot is all there is. */
void beam_pair_grad(beam_backend *be, beam_tensor dot, const beam_pair_grads *out, beam_tensor dact,
                    beam_tensor gate_up, const beam_route *route, beam_rows_of rows);

/* The experts' products. A backend may load the tokens' rows where it multiplies them, and make the
 * activation of sums that it still holds; the bits are those of beam_route_gather before and beam_swiglu
 * after. */
void beam_grouped_gemm(beam_backend *be, const beam_grouped_product *p, const beam_route *route,
                       beam_rows_of rows);

/* dw[E,N,M] += over its rows of dy[R,N]^T x[R,M]. */
void beam_grouped_wgrad(beam_backend *be, beam_tensor dw, beam_tensor dy, beam_tensor x,
                        const beam_route *route, beam_rows_of rows);

/* peak f64 [E] = the larger of itself and the largest |number| among the rows rows_out[R,D] of each expert
 * whose token is counted u8 [T]. NaN counts as infinity. */
void beam_expert_peaks(beam_backend *be, beam_tensor peak, beam_tensor rows_out, beam_tensor counted,
                       const beam_route *route, beam_rows_of rows);

/* Update. */

/* AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), with bias correction, decay decoupled, as
 * torch.optim.AdamW. All wide, of value's shape; m, v start at zero. */
void beam_adamw(beam_backend *be, beam_tensor value, beam_tensor grad, beam_tensor m, beam_tensor v,
                const beam_adamw_args *args);

/* sum f64 [m] += sum over j of x[i,j]^2, x wide [m,n]. The order of a row's sum depends on n alone. */
void beam_sum_squares(beam_backend *be, beam_tensor sum, beam_tensor x);

#endif
