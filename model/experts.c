#include "model/experts.h"

/* gate_up, and act unless it is absent. */
static void hidden(beam_backend *be, const beam_mlp_weights *w, const beam_expert_rows *r, beam_tensor act)
{
    beam_grouped_gemm(
        be,
        &(beam_grouped_product){
            .c = r->gate_up, .a = r->x, .x = r->tokens, .b = w->gate_up->value, .act = act, .tb = true},
        r->route, r->rows);
}

void beam_experts_hidden(beam_backend *be, const beam_mlp_weights *w, const beam_expert_rows *r)
{
    hidden(be, w, r, (beam_tensor){0});
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
    hidden(p->be, w, r, act);
    beam_grouped_gemm(p->be, &(beam_grouped_product){.c = out, .a = act, .b = w->down->value, .tb = true},
                      r->route, r->rows);
    beam_release(p->scratch, mark);
}

void beam_experts_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_expert_rows *r,
                           const beam_expert_grads *g)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    const bool runs = g->weight.data != NULL;
    BEAM_ASSERT(!runs || ((!beam_trains(w->gate_up) || !r->tokens.data) &&
                          (!beam_trains(w->down) || !g->tokens.data)));
    const beam_tensor dact = push_act(p, r);
    const beam_pair_grads out = {.weight = g->weight,
                                 .dgate_up = r->gate_up,
                                 .act = beam_trains(w->down) ? push_act(p, r) : (beam_tensor){0}};
    beam_grouped_gemm(be, &(beam_grouped_product){.c = dact, .a = g->d, .x = g->tokens, .b = w->down->value},
                      r->route, r->rows);
    beam_pair_grad(be, g->dot, runs ? &out : NULL, dact, r->gate_up, r->route, r->rows);
    if (runs && beam_trains(w->down))
        beam_grouped_wgrad(be, w->down->grad, g->d, out.act, r->route, r->rows);
    if (runs && beam_trains(w->gate_up))
        beam_grouped_wgrad(be, w->gate_up->grad, out.dgate_up, r->x, r->route, r->rows);
    if (runs && g->want_dx)
        beam_grouped_gemm(be, &(beam_grouped_product){.c = g->d, .a = out.dgate_up, .b = w->gate_up->value},
                          r->route, r->rows);
    beam_release(p->scratch, mark);
}
