/* The batch-union penalty. */
#include <math.h>

#include "ops/cases.h"
#include "support/values.h"

enum { COUNTED = OP_OWN, SUM, DSUM, DGATE, DGATE_GRAD, SUM_AGAIN };

/* With OP_ZERO: every second pair of expert 1 or 2 has q = 1, and those of expert 3 have q = 0. */
static void fill_gate(const op_fixture *f, beam_tensor gate)
{
    int64_t ones = 0;
    test_fill_uniform(gate, "gate", 0, f->shape.beta != 0 ? f->shape.beta : 1);
    for (int64_t i = 0; gate.data && op_has(f, OP_ZERO) && i < beam_count(gate); i++) {
        const double e = test_get(f->slot[OP_EXPERT].host, i);
        if ((e == 1 || e == 2) && ones++ % 2 == 0)
            test_set(gate, i, 1);
        if (e == 3)
            test_set(gate, i, 0);
    }
    if (gate.data && op_has(f, OP_NAN))
        test_set(gate, 4, NAN);
}

/* Groups of G tokens; alpha is the weight, beta the most that q comes to (0: 1). q may leave [0,1] for a
 * difference: U is a polynomial. */
static void union_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    op_declare_route(f, 0);
    f->slot[OP_GATE].role = OP_VARIABLE;
    fill_gate(f, f->slot[OP_GATE].host);
    op_declare_counted(f, COUNTED);
    test_fill(op_declare(f, SUM, "sum", OP_OUTPUT, BEAM_F64, BEAM_DIMS(2)), 0.25);
    const beam_tensor seed = op_seed(f, DSUM, "dsum", SUM);
    test_fill(seed, 0);
    if (seed.data)
        test_set(seed, 0, s->alpha);
    op_wide_output(f, DGATE, "dgate of the run", BEAM_DIMS(s->T, s->K));
    op_gradient(f, DGATE_GRAD, "dgate", OP_GATE);
    test_fill(op_declare(f, SUM_AGAIN, "sum of the pass back", OP_RESULT, BEAM_F64, BEAM_DIMS(2)), -3);
    f->run.flops = f->back.flops = 4.0 * (double)(s->T * s->K);
}

static void union_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_union_penalty(f->be, f->t[DGATE], f->t[SUM], &route, f->t[COUNTED], f->shape.G, f->shape.alpha);
}

static void union_back(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_union_penalty(f->be, f->t[DGATE_GRAD], f->t[SUM_AGAIN], &route, f->t[COUNTED], f->shape.G,
                       f->shape.alpha);
}

const op_kind op_union = {"union", union_build, union_run, union_back};
