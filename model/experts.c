#include "model/experts.h"

void beam_experts_hidden(beam_backend *be, const beam_mlp_weights *w, const beam_expert_rows *r)
{
    beam_grouped_gemm(be, r->gate_up, r->x, w->gate_up->value, true, r->route, r->rows);
}

static beam_tensor push_act(const beam_pass *p, const beam_expert_rows *r)
{
    return beam_push(p->scratch, p->be->real, BEAM_DIMS(r->gate_up.dim[0], r->gate_up.dim[1] / 2));
}

void beam_experts_forward(const beam_pass *p, const beam_mlp_weights *w, const beam_expert_rows *r,
                          beam_tensor out)
{
    const size_t mark = beam_mark(p->scratch);
    const beam_tensor act = push_act(p, r);
    beam_experts_hidden(p->be, w, r);
    beam_swiglu(p->be, act, r->gate_up, r->route, r->rows);
    beam_grouped_gemm(p->be, out, act, w->down->value, true, r->route, r->rows);
    beam_release(p->scratch, mark);
}

void beam_experts_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_expert_rows *r,
                           const beam_expert_grads *g)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    const beam_tensor dact = push_act(p, r);
    const beam_pair_grads out = {.weight = g->weight,
                                 .dgate_up = r->gate_up,
                                 .act = beam_trains(w->down) ? push_act(p, r) : (beam_tensor){0}};
    beam_grouped_gemm(be, dact, g->d, w->down->value, false, r->route, r->rows);
    beam_pair_grad(be, g->dot, g->weight.data ? &out : NULL, dact, r->gate_up, r->route, r->rows);
    if (g->weight.data && beam_trains(w->down))
        beam_grouped_wgrad(be, w->down->grad, g->d, out.act, r->route, r->rows);
    if (g->weight.data && beam_trains(w->gate_up))
        beam_grouped_wgrad(be, w->gate_up->grad, out.dgate_up, r->x, r->route, r->rows);
    if (g->weight.data && g->want_dx)
        beam_grouped_gemm(be, g->d, out.dgate_up, w->gate_up->value, false, r->route, r->rows);
    beam_release(p->scratch, mark);
}
