/* What dropped experts give back. */
#include "ops/cases.h"
#include "support/values.h"

enum { GIVEN = OP_OWN, Y, DY, DVECTOR, DGIVEN };

static void give_back_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    op_declare_route(f, 0);
    op_wide_variable(f, GIVEN, "given", 1, BEAM_DIMS(s->E, s->D));
    test_fill_normal(op_output(f, Y, "y", BEAM_DIMS(s->T, s->D)), "y", 1);
    op_seed(f, DY, "dy", Y);
    if (!op_has(f, OP_WITHOUT))
        op_added(f, DVECTOR, "dvector", GIVEN, 1);
    op_declare(f, DGIVEN, "dgiven", OP_RESULT, f->be->wide, BEAM_DIMS(s->T, s->K));
    f->run.flops = 2.0 * (double)(s->T * s->K * s->D);
    f->back.flops = 4.0 * (double)(s->T * s->K * s->D);
}

static void give_back_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_give_back(f->be, f->t[Y], f->t[GIVEN], &route, op_form(f));
}

static void give_back_back(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_give_back_grad(f->be, f->t[DVECTOR], f->t[DGIVEN], f->t[DY], f->t[GIVEN], &route, op_form(f));
}

const op_kind op_give_back = {"give_back", give_back_build, give_back_run, give_back_back};
