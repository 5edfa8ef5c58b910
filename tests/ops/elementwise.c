/* Biases, clipping, gated addition. */
#include <math.h>

#include "ops/cases.h"
#include "support/values.h"

enum { X, Y, DY, DX, DX_AGAIN, BIAS, DBIAS, SCORE, DSCORE };

/* Rows [T,D], or [T,H,Dh] when H > 0. */
static void bias_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    const int64_t N = s->H > 0 ? s->Dh : s->D;
    const beam_tensor y =
        s->H > 0 ? op_output(f, Y, "y", BEAM_DIMS(s->T, s->H, N)) : op_output(f, Y, "y", BEAM_DIMS(s->T, N));
    test_fill_normal(y, "y", 1);
    op_variable(f, BIAS, "bias", 1, BEAM_DIMS(N));
    op_seed(f, DY, "dy", Y);
    op_wide_added(f, DBIAS, "dbias", BIAS);
    f->run.flops = f->back.flops = (double)beam_count(y);
}

static void bias_run(op_fixture *f)
{
    beam_add_bias(f->be, f->t[Y], f->t[BIAS]);
}

static void bias_back(op_fixture *f)
{
    beam_bias_grad(f->be, f->t[DBIAS], f->t[DY]);
}

const op_kind op_bias = {"bias", bias_build, bias_run, bias_back};

/* A wide vector that one wide number moves, as the controller moves the biases of mask gates. */
static void shift_build(op_fixture *f)
{
    test_fill_normal(op_wide_output(f, Y, "y", BEAM_DIMS(f->shape.T, 1)), "y", 1);
    op_wide_input(f, BIAS, "by", 1, BEAM_DIMS(1));
    f->run.flops = (double)f->shape.T;
}

const op_kind op_shift = {"shift", shift_build, bias_run, NULL};

/* alpha is the limit. Numbers keep a distance of 0.01 from it; OP_NAN puts some on it, and NaN and
 * infinities.
 */
static void fill_unclipped(const op_fixture *f, beam_tensor x)
{
    const double limit = f->shape.alpha, odd[] = {NAN, INFINITY, -INFINITY, limit, -limit, -0.0};
    for (int64_t i = 0; x.data && i < beam_count(x); i++) {
        const double v = test_get(x, i);
        if (fabs(fabs(v) - limit) < 0.01)
            test_set(x, i, copysign(limit + 0.015625, v));
        if (op_has(f, OP_NAN) && i < (int64_t)(sizeof odd / sizeof odd[0]))
            test_set(x, i, odd[i]);
    }
}

static void clip_build(op_fixture *f)
{
    const int64_t T = f->shape.T, D = f->shape.D;
    fill_unclipped(f, op_variable(f, X, "x", 1, BEAM_DIMS(T, D)));
    op_output(f, Y, "y", BEAM_DIMS(T, D));
    op_seed(f, DY, "dy", Y);
    op_gradient(f, DX, "dx", X);
    op_gradient(f, DX_AGAIN, "dx from y", X);
    f->run.flops = f->back.flops = (double)(T * D);
}

static void clip_run(op_fixture *f)
{
    beam_copy(f->be, f->t[Y], f->t[X]);
    beam_clip(f->be, f->t[Y], f->shape.alpha);
}

/* x from before and from after the clipping are equally good. */
static void clip_back(op_fixture *f)
{
    beam_copy(f->be, f->t[DX], f->t[DY]);
    beam_clip_grad(f->be, f->t[DX], f->t[X], f->shape.alpha);
    beam_copy(f->be, f->t[DX_AGAIN], f->t[DY]);
    beam_clip_grad(f->be, f->t[DX_AGAIN], f->t[Y], f->shape.alpha);
}

const op_kind op_clip = {"clip", clip_build, clip_run, clip_back};

static void gated_build(op_fixture *f)
{
    const int64_t T = f->shape.T, D = f->shape.D;
    op_variable(f, X, "x", 1, BEAM_DIMS(T, D));
    op_wide_variable(f, SCORE, "score", op_has(f, OP_LARGE) ? 200 : 2, BEAM_DIMS(T));
    test_fill_normal(op_output(f, Y, "y", BEAM_DIMS(T, D)), "y", 1);
    op_seed(f, DY, "dy", Y);
    op_gradient(f, DX, "dx", X);
    op_gradient(f, DX_AGAIN, "dx in place of dy", X);
    op_gradient(f, DSCORE, "dscore", SCORE);
    f->run.flops = 2.0 * (double)(T * D);
    f->back.flops = 3.0 * (double)(T * D);
}

static void gated_run(op_fixture *f)
{
    beam_add_gated(f->be, f->t[Y], f->t[X], f->t[SCORE]);
}

static void gated_back(op_fixture *f)
{
    const beam_tensor in_place = f->t[DX_AGAIN];
    beam_add_gated_grad(f->be, f->t[DX], f->t[DSCORE], f->t[DY], f->t[X], f->t[SCORE]);
    beam_copy(f->be, in_place, f->t[DY]);
    beam_add_gated_grad(f->be, in_place, f->t[DSCORE], in_place, f->t[X], f->t[SCORE]);
}

const op_kind op_gated = {"gated", gated_build, gated_run, gated_back};
