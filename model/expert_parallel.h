/* Experts spread over ranks: P ranks that follow one another share the experts of every layer in equal runs.
 * All else is on every rank, and each has its own micro-batch. Rows travel to the rank that holds their
 * expert and their outputs travel back; what happens before and after on the sender's side, and the products
 * on the owner's, is what it is with all experts in one place (model/moe.c, model/experts.c).
 *
 * All ranks of the job run the same passes at the same time, on micro-batches of their own: the calls below
 * are collective. A failure of the comm becomes the backend's. */
#ifndef BEAM_MODEL_EXPERT_PARALLEL_H
#define BEAM_MODEL_EXPERT_PARALLEL_H

#include "comm/comm.h"
#include "model/expert_plan.h"
#include "model/experts.h"

struct beam_expert_parallel {
    beam_comm *comm;       /* NULL where memory is only planned */
    beam_expert_plan plan; /* of the layer at work */
    int64_t pairs;         /* most rows of a rank: R of the largest micro-batch */
    bool agreed;           /* that all ranks have these bounds */
    int32_t *counts;       /* [ranks of the job][E][2] */
    int32_t *mine;         /* [E][2] of this rank */
    int32_t *first, *kept; /* [E+1] [E] of a route */
    int32_t *index, *inverse;
    int64_t *from_count, *to_count; /* [ranks of the job] elements of an exchange */
};

/* The share of `c`, a layer's shape, that this process has of `ranks` equal ones, written into c; and the
 * bounds for micro-batches of `tokens` tokens. Without a comm it is that of the first rank. BEAM_ECONFIG if
 * the experts or the ranks of the job cannot be shared so. */
beam_status beam_expert_parallel_share(beam_expert_parallel *ep, beam_model_config *c, int ranks,
                                       beam_comm *comm, int64_t tokens);

/* Host memory. The first pass fails, on all ranks, unless they have the same bounds. Close in any case. */
beam_status beam_expert_parallel_open(beam_expert_parallel *ep);
void beam_expert_parallel_close(beam_expert_parallel *ep);

/* out[R,D] = E_e(x) for r->rows of the rows r->x, grouped by all E experts; r->tokens is absent. */
void beam_expert_parallel_forward(const beam_pass *p, const beam_mlp_weights *w, const beam_expert_rows *r,
                                  beam_tensor out);

/* As beam_experts_backward, but x is always read: owners keep nothing of the forward pass, so inputs are sent
 * again, and gate and up projections made again; r->tokens and g->tokens are absent. Gradients of weights are
 * those of the tokens of all P ranks. Rows of g->d and g->dot outside r->rows are left undefined. */
void beam_expert_parallel_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_expert_rows *r,
                                   const beam_expert_grads *g);

#endif
