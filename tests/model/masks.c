/* Mask gates inside the whole model, in float: what must be bit for bit the same, and the extremes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/load.h"
#include "model/tiny_model.h"
#include "support/compare.h"
#include "support/values.h"

static const double penalty = 0.5;

typedef struct {
    beam_backend be;
    tiny_batch batch;
    beam_model_config config;
} fixture;

static void setup_with(fixture *f, int threads)
{
    memset(f, 0, sizeof *f);
    tiny_batch_make(&f->batch);
    assert_int_equal(beam_backend_cpu(&f->be, threads), BEAM_OK);
    f->config = tiny_config(true, false, false);
}

static void token_losses(beam_model *m, const tiny_batch *b, double out[TINY_TOKENS])
{
    beam_model_forward(m, &b->batch, 0);
    assert_int_equal(beam_model_token_losses(m, out), BEAM_OK);
}

static void zero_gates_are_the_base_model(void **state)
{
    (void)state;
    fixture f;
    setup_with(&f, 1);
    beam_model *masked = tiny_open(&f.config, BEAM_SCOPE_NONE, false, &f.be);
    assert_int_equal(beam_model_init_gates(masked, BEAM_GATES_ZERO, 1.0), BEAM_OK);
    f.config.mask.present = false;
    beam_model *base = tiny_open(&f.config, BEAM_SCOPE_NONE, false, &f.be);
    double with[TINY_TOKENS], without[TINY_TOKENS];
    token_losses(masked, &f.batch, with);
    token_losses(base, &f.batch, without);
    assert_memory_equal(with, without, sizeof with);
    beam_model_close(masked);
    beam_model_close(base);
    beam_backend_close(&f.be);
}

static void closed_gates_leave_the_residual(void **state)
{
    (void)state;
    fixture f;
    setup_with(&f, 1);
    beam_model *m = tiny_open(&f.config, BEAM_SCOPE_ALL, false, &f.be);
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++)
        if (strstr(params.at[i].name, "mask_gate.bias"))
            test_fill(params.at[i].value, -100);
    tiny_gradients(m, &f.batch, penalty, 0);
    double stats[2 * (BEAM_STAT_EXPERTS + 6)];
    assert_int_equal(beam_model_take_stats(m, stats), BEAM_OK);
    assert_true(stats[BEAM_STAT_KEPT] == 0);
    assert_true(stats[BEAM_STAT_NONE_KEPT] == stats[BEAM_STAT_TOKENS]);
    for (int i = 0; i < params.n; i++) {
        const bool expert = strstr(params.at[i].name, "experts") != NULL;
        for (int64_t j = 0; j < beam_count(params.at[i].grad); j++) {
            const double g = test_get(params.at[i].grad, j);
            assert_true(isfinite(g) && (!expert || g == 0));
        }
    }
    beam_model_close(m);
    beam_backend_close(&f.be);
}

/* All gradients of one model, as a new block of its bytes. */
static void *gradients_of(const fixture *f, beam_backend *be, beam_scope scope, bool checkpointing,
                          beam_model **m)
{
    *m = tiny_open(&f->config, scope, checkpointing, be);
    tiny_gradients(*m, &f->batch, penalty, 0);
    const beam_tensor grads = beam_model_grads(*m);
    void *copy = malloc(beam_bytes(grads));
    beam_download(be, copy, grads);
    return copy;
}

static void recomputation_changes_no_bit(void **state)
{
    (void)state;
    fixture f;
    setup_with(&f, 1);
    beam_model *kept, *recomputed;
    void *a = gradients_of(&f, &f.be, BEAM_SCOPE_ALL, false, &kept);
    void *b = gradients_of(&f, &f.be, BEAM_SCOPE_ALL, true, &recomputed);
    assert_memory_equal(a, b, beam_bytes(beam_model_grads(kept)));
    free(a);
    free(b);
    beam_model_close(kept);
    beam_model_close(recomputed);
    beam_backend_close(&f.be);
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    fixture f, two;
    setup_with(&f, 1);
    setup_with(&two, 2);
    beam_model *m1, *m2;
    void *a = gradients_of(&f, &f.be, BEAM_SCOPE_ALL, false, &m1);
    void *b = gradients_of(&two, &two.be, BEAM_SCOPE_ALL, false, &m2);
    assert_memory_equal(a, b, beam_bytes(beam_model_grads(m1)));
    free(a);
    free(b);
    beam_model_close(m1);
    beam_model_close(m2);
    beam_backend_close(&f.be);
    beam_backend_close(&two.be);
}

static void frozen_base_gives_the_same_gate_gradients(void **state)
{
    (void)state;
    fixture f;
    setup_with(&f, 1);
    beam_model *all, *masks;
    free(gradients_of(&f, &f.be, BEAM_SCOPE_ALL, false, &all));
    free(gradients_of(&f, &f.be, BEAM_SCOPE_MASKS, false, &masks));
    const beam_params params = beam_model_params(masks);
    int gates = 0;
    for (int i = 0; i < params.n; i++) {
        const beam_param *p = &params.at[i];
        assert_int_equal(p->grad.data != NULL, (p->flags & BEAM_MASK_GATE) != 0);
        if (!(p->flags & BEAM_MASK_GATE))
            continue;
        gates++;
        assert_true(test_same(p->name, p->grad, tiny_param(all, p->name)->grad));
    }
    assert_int_equal(gates, 8); /* four in each of two layers */
    beam_model_close(all);
    beam_model_close(masks);
    beam_backend_close(&f.be);
}

/* Kept experts only, or everything with dropped weights at zero: the same output. */
static void evaluation_skips_exactly(void **state)
{
    (void)state;
    fixture f;
    setup_with(&f, 1);
    beam_model *m = tiny_open(&f.config, BEAM_SCOPE_ALL, false, &f.be);
    double skipping[TINY_TOKENS], complete[TINY_TOKENS];
    token_losses(m, &f.batch, skipping);
    beam_model_forward(m, &f.batch.batch, 1.0); /* keeps every candidate's output for backward */
    assert_int_equal(beam_model_token_losses(m, complete), BEAM_OK);
    assert_memory_equal(skipping, complete, sizeof complete);
    double stats[2 * (BEAM_STAT_EXPERTS + 6)];
    assert_int_equal(beam_model_take_stats(m, stats), BEAM_OK);
    const double pairs = stats[BEAM_STAT_TOKENS] * (double)f.config.top_k;
    assert_true(stats[BEAM_STAT_KEPT] > 0 && stats[BEAM_STAT_KEPT] < pairs); /* something was there to skip */
    beam_model_close(m);
    beam_backend_close(&f.be);
}

static void smaller_batches_fit_the_same_model(void **state)
{
    (void)state;
    fixture f;
    setup_with(&f, 1);
    beam_model *m = tiny_open(&f.config, BEAM_SCOPE_NONE, false, &f.be);
    double whole[TINY_TOKENS], part[TINY_TOKENS];
    token_losses(m, &f.batch, whole);
    tiny_batch first = f.batch; /* the first sequence alone */
    first.batch.tokens = f.batch.first[1];
    first.batch.sequences = 1;
    token_losses(m, &first, part);
    for (int64_t t = 0; t < first.batch.tokens; t++)
        assert_true(fabs(part[t] - whole[t]) <= 1e-6);
    beam_model_close(m);
    beam_backend_close(&f.be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_gates_are_the_base_model),
        cmocka_unit_test(closed_gates_leave_the_residual),
        cmocka_unit_test(recomputation_changes_no_bit),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(frozen_base_gives_the_same_gate_gradients),
        cmocka_unit_test(evaluation_skips_exactly),
        cmocka_unit_test(smaller_batches_fit_the_same_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
