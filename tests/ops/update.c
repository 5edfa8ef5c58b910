/* Ops of the optimizer. */
#include "ops/cases.h"
#include "support/values.h"

enum { VALUE, GRAD, M, V, SUM };

/* M steps from m = v = 0; alpha scales the gradient. Some gradients are exactly 0, as those of experts
 * without tokens are. */
static void adamw_build(op_fixture *f)
{
    const int64_t n = f->shape.D;
    const beam_tensor value = op_wide_output(f, VALUE, "value", BEAM_DIMS(n));
    test_fill_normal(value, "value", 1);
    const beam_tensor grad = op_wide_input(f, GRAD, "grad", 0.1, BEAM_DIMS(n));
    for (int64_t i = 0; grad.data && i < n; i += 5)
        test_set(grad, i, 0);
    test_fill(op_wide_output(f, M, "m", BEAM_DIMS(n)), 0);
    test_fill(op_wide_output(f, V, "v", BEAM_DIMS(n)), 0);
    f->run.flops = 15.0 * (double)(f->shape.M * n);
}

static void adamw_run(op_fixture *f)
{
    beam_adamw_args args = {.learning_rate = 0.01,
                            .beta1 = 0.9,
                            .beta2 = 0.95,
                            .epsilon = 1e-8,
                            .weight_decay = f->shape.beta,
                            .grad_scale = f->shape.alpha};
    for (args.step = 1; args.step <= f->shape.M; args.step++)
        beam_adamw(f->be, f->t[VALUE], f->t[GRAD], f->t[M], f->t[V], &args);
}

const op_kind op_adamw = {"adamw", adamw_build, adamw_run, NULL};

static void sum_squares_build(op_fixture *f)
{
    op_wide_input(f, VALUE, "x", 1, BEAM_DIMS(f->shape.T, f->shape.D));
    test_fill(op_declare(f, SUM, "sum", OP_OUTPUT, BEAM_F64, BEAM_DIMS(f->shape.T)), 2.5);
    f->run.flops = 2.0 * (double)(f->shape.T * f->shape.D);
}

static void sum_squares_run(op_fixture *f)
{
    beam_sum_squares(f->be, f->t[SUM], f->t[VALUE]);
}

const op_kind op_sum_squares = {"sum_squares", sum_squares_build, sum_squares_run, NULL};
