#include "model/mlp.h"

#include "model/linear.h"

void beam_mlp_layout(beam_mlp_saved *s, int64_t width, beam_dtype real, int64_t tokens, beam_arena *a)
{
    s->gate_up = beam_push(a, real, BEAM_DIMS(tokens, 2 * width));
    s->act = beam_push(a, real, BEAM_DIMS(tokens, width));
}

void beam_mlp_forward(const beam_pass *p, beam_mlp w, beam_mlp_saved *s, beam_tensor x, beam_tensor y,
                      double beta)
{
    beam_linear_forward(p->be, beam_linear_of(w.gate_up, NULL), x, s->gate_up, 0);
    beam_swiglu(p->be, s->act, s->gate_up, NULL, BEAM_ROWS_ALL);
    if (y.data)
        beam_linear_forward(p->be, beam_linear_of(w.down, NULL), s->act, y, beta);
}

void beam_mlp_backward(const beam_pass *p, beam_mlp w, const beam_mlp_saved *s, beam_tensor x, beam_tensor dy,
                       beam_tensor dx, double beta)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    beam_tensor dact = beam_push(p->scratch, be->real, s->act.ndim, s->act.dim);
    beam_tensor dgate_up = beam_push(p->scratch, be->real, s->gate_up.ndim, s->gate_up.dim);
    beam_linear_backward(be, beam_linear_of(w.down, NULL), s->act, dy, dact, 0);
    beam_swiglu_grad(be, dgate_up, dact, s->gate_up);
    beam_linear_backward(be, beam_linear_of(w.gate_up, NULL), x, dgate_up, dx, beta);
    beam_release(p->scratch, mark);
}
