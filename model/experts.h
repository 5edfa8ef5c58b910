/* The experts that this process holds, over rows that are grouped by expert. */
#ifndef BEAM_MODEL_EXPERTS_H
#define BEAM_MODEL_EXPERTS_H

#include "model/pass.h"
#include "model/weights.h"

typedef struct {
    const beam_route *route; /* of which only the groups count: first, kept */
    beam_rows_of rows;
    beam_tensor x;            /* [R,D] inputs */
    beam_tensor gate_up, act; /* [R,2F] [R,F] made by forward, read by backward */
} beam_expert_rows;

/* gate_up and act of the rows. */
void beam_experts_hidden(beam_backend *be, const beam_mlp_weights *w, const beam_expert_rows *r);

/* Those, and out[R,D] = E_e(x); out may be x. */
void beam_experts_forward(beam_backend *be, const beam_mlp_weights *w, const beam_expert_rows *r,
                          beam_tensor out);

/* drows[R,D] = dL/d(output) on entry; with want_dx, dL/dx on return. Gradients of weights that train +=. */
void beam_experts_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_expert_rows *r,
                           beam_tensor drows, bool want_dx);

#endif
