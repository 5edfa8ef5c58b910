/* The experts that this process holds, over rows that are grouped by expert. */
#ifndef BEAM_MODEL_EXPERTS_H
#define BEAM_MODEL_EXPERTS_H

#include "model/pass.h"
#include "model/weights.h"

typedef struct {
    const beam_route *route; /* the whole plan with tokens; without, of it the groups: first, kept */
    beam_rows_of rows;
    beam_tensor tokens;  /* [T,D] whose rows are the inputs; absent: x holds them */
    beam_tensor x;       /* [R,D] inputs, or with tokens room for them */
    beam_tensor gate_up; /* [R,2F] made by forward, read and used up by backward */
} beam_expert_rows;

/* gate_up of the rows. */
void beam_experts_hidden(beam_backend *be, const beam_mlp_weights *w, const beam_expert_rows *r);

/* That, and out[R,D] = E_e(x); out may be x. */
void beam_experts_forward(const beam_pass *p, const beam_mlp_weights *w, const beam_expert_rows *r,
                          beam_tensor out);

/* What goes through the experts on the way back. */
typedef struct {
    beam_tensor tokens; /* [T,D] dL/dy; absent: d holds the rows of it */
    beam_tensor d;      /* [R,D] dL/dy of the row's token, or with tokens room for it; with want_dx, dL/dx on
                           return */
    beam_tensor dot;    /* wide [R] <d, E_e(x)>, made of d W_down and the activation, not of the output */
    beam_tensor weight; /* wide [R] of the rows in the combine; absent: they do not run, dot is all */
    bool want_dx;
} beam_expert_grads;

/* Gradients of weights that train +=, of rows that run. They read rows: where gate and up projections train,
 * x holds them and r->tokens is absent; where down projections train, d does and g->tokens is absent. */
void beam_experts_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_expert_rows *r,
                           const beam_expert_grads *g);

#endif
