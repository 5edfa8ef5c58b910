#include "model/experts.h"

void beam_experts_hidden(beam_backend *be, const beam_mlp_weights *w, const beam_expert_rows *r)
{
    beam_grouped_gemm(be, r->gate_up, r->x, w->gate_up->value, true, r->route, r->rows);
    beam_swiglu(be, r->act, r->gate_up, r->route, r->rows);
}

void beam_experts_forward(beam_backend *be, const beam_mlp_weights *w, const beam_expert_rows *r,
                          beam_tensor out)
{
    beam_experts_hidden(be, w, r);
    beam_grouped_gemm(be, out, r->act, w->down->value, true, r->route, r->rows);
}

void beam_experts_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_expert_rows *r,
                           beam_tensor drows, bool want_dx)
{
    beam_backend *be = p->be;
    if (beam_trains(w->down))
        beam_grouped_wgrad(be, w->down->grad, drows, r->act, r->route, r->rows);
    const size_t mark = beam_mark(p->scratch);
    beam_tensor dact = beam_push(p->scratch, be->real, r->act.ndim, r->act.dim);
    beam_tensor dgate_up = beam_push(p->scratch, be->real, r->gate_up.ndim, r->gate_up.dim);
    beam_grouped_gemm(be, dact, drows, w->down->value, false, r->route, r->rows);
    beam_swiglu_grad(be, dgate_up, dact, r->gate_up, r->route, r->rows);
    if (beam_trains(w->gate_up))
        beam_grouped_wgrad(be, w->gate_up->grad, dgate_up, r->x, r->route, r->rows);
    if (want_dx)
        beam_grouped_gemm(be, drows, dgate_up, w->gate_up->value, false, r->route, r->rows);
    beam_release(p->scratch, mark);
}
