/* Distillation. */
#include <math.h>

#include "ops/cases.h"
#include "support/values.h"

enum {
    LOGITS,
    TEACHER,
    TARGET,
    LOSS,
    DIVERGENCE,
    CORRECT,
    DLOSS,
    DDIVERGENCE,
    DLOGITS,
    LOSS_AGAIN,
    DIVERGENCE_AGAIN,
    CORRECT_AGAIN
};

/* OP_NAN: token 0 has a NaN in the student, 1 in the teacher; tokens 3, 4 and 5 have a number without
 * probability in the student, the teacher, both. */
static void fill_logits(const op_fixture *f, beam_tensor logits, const char *name, bool teacher)
{
    const int64_t last = f->shape.V - 1, row = f->shape.V;
    test_fill_normal(logits, name, op_has(f, OP_LARGE) ? 1000 : 2);
    if (op_has(f, OP_TIES))
        test_fill_integers(logits, name, 0, 2);
    if (!op_has(f, OP_NAN) || !logits.data)
        return;
    test_set(logits, (teacher ? 1 : 0) * row + last, NAN);
    test_set(logits, (teacher ? 4 : 3) * row + last, -INFINITY);
    test_set(logits, 5 * row + last, -INFINITY);
}

/* alpha is the scale of the gradient, beta the weight of the divergence. Token 2 is ignored. */
static void distill_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    fill_logits(f, op_variable(f, LOGITS, "logits", 1, BEAM_DIMS(s->T, s->V)), "logits", false);
    fill_logits(f, op_input(f, TEACHER, "teacher", 1, BEAM_DIMS(s->T, s->V)), "teacher", true);
    const beam_tensor target = op_declare(f, TARGET, "target", OP_INPUT, BEAM_I32, BEAM_DIMS(s->T));
    test_fill_integers(target, "target", 0, (int)s->V - 2);
    if (target.data && s->T > 2)
        test_set(target, 2, -1);
    op_wide_output(f, LOSS, "loss", BEAM_DIMS(s->T));
    op_wide_output(f, DIVERGENCE, "divergence", BEAM_DIMS(s->T));
    op_declare(f, CORRECT, "correct", OP_OUTPUT, BEAM_U8, BEAM_DIMS(s->T));
    test_fill(op_seed(f, DLOSS, "dloss", LOSS), s->alpha * (1 - s->beta));
    test_fill(op_seed(f, DDIVERGENCE, "ddivergence", DIVERGENCE), s->alpha * s->beta);
    op_gradient(f, DLOGITS, "dlogits", LOGITS);
    op_declare(f, LOSS_AGAIN, "loss with gradient", OP_RESULT, f->be->wide, BEAM_DIMS(s->T));
    op_declare(f, DIVERGENCE_AGAIN, "divergence with gradient", OP_RESULT, f->be->wide, BEAM_DIMS(s->T));
    op_declare(f, CORRECT_AGAIN, "correct with gradient", OP_RESULT, BEAM_U8, BEAM_DIMS(s->T));
    f->run.flops = f->back.flops = 6.0 * (double)(s->T * s->V);
}

static beam_distill_args distill_args(const op_fixture *f, bool want_grad)
{
    return (beam_distill_args){.weight = f->shape.beta,
                               .temperature = op_temperature(f),
                               .grad_scale = f->shape.alpha,
                               .want_grad = want_grad};
}

static void distill_run(op_fixture *f)
{
    const beam_distill_args args = distill_args(f, false);
    beam_distill(f->be, f->t[LOGITS], f->t[TEACHER], f->t[TARGET], f->t[LOSS], f->t[DIVERGENCE],
                 f->t[CORRECT], &args);
}

static void distill_back(op_fixture *f)
{
    const beam_distill_args args = distill_args(f, true);
    beam_copy(f->be, f->t[DLOGITS], f->t[LOGITS]);
    beam_distill(f->be, f->t[DLOGITS], f->t[TEACHER], f->t[TARGET], f->t[LOSS_AGAIN], f->t[DIVERGENCE_AGAIN],
                 f->t[CORRECT_AGAIN], &args);
}

const op_kind op_distill = {"distill", distill_build, distill_run, distill_back};
