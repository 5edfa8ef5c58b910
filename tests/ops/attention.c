/* Attention, SwiGLU and the loss. */
#include <math.h>

#include "ops/cases.h"
#include "support/values.h"

enum { Q = OP_OWN, KEY, VALUE, BOUNDS, OUT, LSE, DOUT, DQ, DK, DV };

static int sequences(const op_shape *s)
{
    int n = 0;
    while (s->lengths[n] > 0)
        n++;
    return n;
}

/* One element more than the bounds need, and unfilled: it must not be read. */
static void declare_bounds(op_fixture *f)
{
    const int n = sequences(&f->shape);
    const beam_tensor first = op_declare(f, BOUNDS, "first", OP_INPUT, BEAM_I32, BEAM_DIMS(n + 2));
    int64_t t = 0;
    for (int i = 0; first.data && i <= n; i++) {
        test_set(first, i, (double)t);
        t += f->shape.lengths[i];
    }
    BEAM_ASSERT(!first.data || t == f->shape.T);
}

/* Pairs of a query and a key that it sees, in all sequences. */
static int64_t pairs_seen(const op_shape *s)
{
    int64_t n = 0;
    for (int i = 0; s->lengths[i] > 0; i++)
        for (int64_t t = 1; t <= s->lengths[i]; t++)
            n += s->window > 0 && s->window < t ? s->window : t;
    return n;
}

/* alpha is the scale of the scores. */
static void attention_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    const int64_t Dv = s->Dv > 0 ? s->Dv : s->Dh;
    op_variable(f, Q, "q", op_has(f, OP_LARGE) ? 6 : 1, BEAM_DIMS(s->T, s->H, s->Dh));
    op_variable(f, KEY, "k", op_has(f, OP_LARGE) ? 6 : 1, BEAM_DIMS(s->T, s->G, s->Dh));
    op_variable(f, VALUE, "v", 1, BEAM_DIMS(s->T, s->G, Dv));
    declare_bounds(f);
    op_output(f, OUT, "out", BEAM_DIMS(s->T, s->H, Dv));
    op_wide_output(f, LSE, "lse", BEAM_DIMS(s->T, s->H));
    op_seed(f, DOUT, "dout", OUT);
    op_gradient(f, DQ, "dq", Q);
    op_gradient(f, DK, "dk", KEY);
    op_gradient(f, DV, "dv", VALUE);
    const double scores = (double)(pairs_seen(s) * s->H);
    f->run.flops = 2 * scores * (double)(s->Dh + Dv);
    f->back.flops = scores * (double)(6 * s->Dh + 4 * Dv);
}

static beam_sequences bounds(const op_fixture *f)
{
    return (beam_sequences){.first = f->t[BOUNDS], .n = sequences(&f->shape)};
}

static beam_attention_rule rule(const op_fixture *f)
{
    return (beam_attention_rule){.scale = f->shape.alpha, .window = f->shape.window};
}

static void attention_run(op_fixture *f)
{
    beam_attention(f->be, f->t[OUT], f->t[LSE], f->t[Q], f->t[KEY], f->t[VALUE], bounds(f), rule(f));
}

static void attention_back(op_fixture *f)
{
    beam_attention_grad(f->be, f->t[DQ], f->t[DK], f->t[DV], f->t[DOUT], f->t[OUT], f->t[LSE], f->t[Q],
                        f->t[KEY], f->t[VALUE], bounds(f), rule(f));
}

const op_kind op_attention = {"attention", attention_build, attention_run, attention_back};

enum { GATE_UP = OP_OWN, Y, DY, DGATE_UP };

static void swiglu_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    op_variable(f, GATE_UP, "gate_up", op_has(f, OP_LARGE) ? 200 : 1, BEAM_DIMS(s->T, 2 * s->F));
    op_output(f, Y, "y", BEAM_DIMS(s->T, s->F));
    op_seed(f, DY, "dy", Y);
    op_gradient(f, DGATE_UP, "dgate_up", GATE_UP);
    f->run.flops = 4.0 * (double)(s->T * s->F);
    f->back.flops = 10.0 * (double)(s->T * s->F);
}

static void swiglu_run(op_fixture *f)
{
    beam_swiglu(f->be, f->t[Y], f->t[GATE_UP], NULL, BEAM_ROWS_ALL);
}

static void swiglu_back(op_fixture *f)
{
    beam_swiglu_grad(f->be, f->t[DGATE_UP], f->t[DY], f->t[GATE_UP]);
}

const op_kind op_swiglu = {"swiglu", swiglu_build, swiglu_run, swiglu_back};

/* The rows of a route's pairs. */
static void swiglu_rows_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    const int64_t rows = s->T * s->K;
    op_declare_route(f, 0);
    op_poison_rows(f, op_input(f, GATE_UP, "gate_up", 1, BEAM_DIMS(rows, 2 * s->F)), op_rows(f));
    op_output(f, Y, "y", BEAM_DIMS(rows, s->F));
    f->run.flops = 4.0 * (double)(op_rows_used(f) * s->F);
}

static void swiglu_rows_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_swiglu(f->be, f->t[Y], f->t[GATE_UP], &route, op_rows(f));
}

const op_kind op_swiglu_rows = {"swiglu", swiglu_rows_build, swiglu_rows_run, NULL};

enum { LOGITS, TARGET, LOSS, CORRECT, DLOSS, DLOGITS, LOSS_AGAIN, CORRECT_AGAIN };

static void fill_logits(const op_fixture *f, beam_tensor logits)
{
    const int64_t V = f->shape.V;
    test_fill_normal(logits, "logits", op_has(f, OP_LARGE) ? 1000 : 2);
    if (op_has(f, OP_TIES))
        test_fill_integers(logits, "logits", 0, 2);
    if (!op_has(f, OP_NAN) || !logits.data)
        return;
    /* Row 0 and 1: a NaN and an infinity that are neither first, nor the target. */
    test_set(logits, V - 1, NAN);
    test_set(logits, V + V - 1, INFINITY);
    test_set(logits, 2 * V + V - 1, -INFINITY);
}

/* alpha is the scale of the gradient. Token 2 is ignored. */
static void cross_entropy_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    fill_logits(f, op_variable(f, LOGITS, "logits", 1, BEAM_DIMS(s->T, s->V)));
    const beam_tensor target = op_declare(f, TARGET, "target", OP_INPUT, BEAM_I32, BEAM_DIMS(s->T));
    test_fill_integers(target, "target", 0, (int)s->V - 2);
    if (target.data && s->T > 2)
        test_set(target, 2, -1);
    op_wide_output(f, LOSS, "loss", BEAM_DIMS(s->T));
    op_declare(f, CORRECT, "correct", OP_OUTPUT, BEAM_U8, BEAM_DIMS(s->T));
    test_fill(op_seed(f, DLOSS, "dloss", LOSS), s->alpha);
    op_gradient(f, DLOGITS, "dlogits", LOGITS);
    op_declare(f, LOSS_AGAIN, "loss of the pass with gradient", OP_RESULT, f->be->wide, BEAM_DIMS(s->T));
    op_declare(f, CORRECT_AGAIN, "correct of the pass with gradient", OP_RESULT, BEAM_U8, BEAM_DIMS(s->T));
    f->run.flops = f->back.flops = 3.0 * (double)(s->T * s->V);
}

static void cross_entropy_run(op_fixture *f)
{
    beam_cross_entropy(f->be, f->t[LOGITS], f->t[TARGET], f->t[LOSS], f->t[CORRECT], f->shape.alpha, false);
}

static void cross_entropy_back(op_fixture *f)
{
    beam_copy(f->be, f->t[DLOGITS], f->t[LOGITS]);
    beam_cross_entropy(f->be, f->t[DLOGITS], f->t[TARGET], f->t[LOSS_AGAIN], f->t[CORRECT_AGAIN],
                       f->shape.alpha, true);
}

const op_kind op_cross_entropy = {"cross_entropy", cross_entropy_build, cross_entropy_run,
                                  cross_entropy_back};
