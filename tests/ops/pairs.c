/* From the experts' activation to the output of a layer, and what pairs are worth on the way back. R = T*K
 * pairs. */
#include <math.h>

#include "ops/cases.h"
#include "support/values.h"

/* Dropped rows become NaN, of other bits than memory that nobody wrote: dpair is computed from them. */
static void spoil_dropped(const op_fixture *f, beam_tensor rows)
{
    const int32_t *row = f->slot[OP_ROW].host.data;
    for (int64_t i = 0; rows.data && i < f->shape.T * f->shape.K; i++)
        for (int64_t j = 0; test_get(f->slot[OP_KEEP].host, i) == 0 && j < rows.dim[1]; j++)
            test_set(rows, row[i] * rows.dim[1] + j, (double)NAN);
}

static beam_rows_of running(const op_fixture *f)
{
    return op_form(f) == BEAM_MASK_SOFT ? BEAM_ROWS_ALL : BEAM_ROWS_KEPT;
}

/* OP_POISON: dropped rows hold NaN, so that the hard form must not read them (their dpair is then NaN). */
void op_declare_pairs(op_fixture *f, int at, bool gradients)
{
    const op_shape *s = &f->shape;
    const int64_t R = s->T * s->K;
    const beam_tensor gate_up = op_variable(f, at + OP_GATE_UP, "gate_up", 1, BEAM_DIMS(R, 2 * s->D));
    if (op_has(f, OP_POISON))
        spoil_dropped(f, gate_up);
    op_output(f, at + OP_ACT, "act", BEAM_DIMS(R, s->D));
    op_output(f, at + OP_Y, "y", BEAM_DIMS(s->T, s->D));
    op_seed(f, at + OP_DY, "dy", at + OP_Y);
    op_declare(f, at + OP_DACT, "dact", OP_RESULT, f->be->real, BEAM_DIMS(R, s->D));
    op_declare(f, at + OP_ROW_WEIGHT, "row weight", OP_RESULT, f->be->wide, BEAM_DIMS(R));
    op_declare(f, at + OP_DOT, "dot", OP_RESULT, f->be->wide, BEAM_DIMS(R));
    op_declare(f, at + OP_DPAIR, "dpair", OP_RESULT, f->be->wide, BEAM_DIMS(s->T, s->K));
    if (gradients) {
        op_gradient(f, at + OP_DGATE_UP, "dgate_up", at + OP_GATE_UP);
        op_declare(f, at + OP_SCALED_ACT, "scaled act", OP_RESULT, f->be->real, BEAM_DIMS(R, s->D));
    }
    f->run.flops = 6.0 * (double)(R * s->D);
    f->back.flops = 15.0 * (double)(R * s->D);
}

void op_pairs_run(op_fixture *f, int at)
{
    const beam_route route = op_route(f);
    beam_swiglu(f->be, f->t[at + OP_ACT], f->t[at + OP_GATE_UP], &route, running(f));
    beam_route_combine(f->be, f->t[at + OP_Y], f->t[at + OP_ACT], &route, op_form(f));
}

void op_pairs_back(op_fixture *f, int at)
{
    const beam_route route = op_route(f);
    const beam_tensor *t = f->t + at;
    const beam_pair_grads grads = {
        .weight = t[OP_ROW_WEIGHT], .dgate_up = t[OP_DGATE_UP], .act = t[OP_SCALED_ACT]};
    const beam_pair_grads *out = t[OP_DGATE_UP].data ? &grads : NULL;
    beam_route_gather(f->be, t[OP_DACT], t[OP_DY], &route, BEAM_ROWS_ALL);
    beam_route_weights(f->be, t[OP_ROW_WEIGHT], &route, op_form(f));
    beam_pair_grad(f->be, t[OP_DOT], out, t[OP_DACT], t[OP_GATE_UP], &route, running(f));
    beam_route_pairs(f->be, t[OP_DPAIR], t[OP_DOT], &route, running(f));
    if (running(f) == BEAM_ROWS_KEPT) {
        beam_pair_grad(f->be, t[OP_DOT], NULL, t[OP_DACT], t[OP_GATE_UP], &route, BEAM_ROWS_DROPPED);
        beam_route_pairs(f->be, t[OP_DPAIR], t[OP_DOT], &route, BEAM_ROWS_DROPPED);
    }
}

static void route_combine_build(op_fixture *f)
{
    op_declare_route(f, 0);
    op_declare_pairs(f, OP_OWN, !op_has(f, OP_WITHOUT));
}

static void route_combine_run(op_fixture *f)
{
    op_pairs_run(f, OP_OWN);
}

static void route_combine_back(op_fixture *f)
{
    op_pairs_back(f, OP_OWN);
}

const op_kind op_route_combine = {"route_combine", route_combine_build, route_combine_run,
                                  route_combine_back};
