/* Mask gates inside whole models of every family, in float: what must be bit for bit the same, and the
 * extremes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/hf_fixture.h"
#include "model/tiny_model.h"
#include "support/compare.h"
#include "support/values.h"

static const double penalty = 0.5;

/* The fixture's model with mask gates. */
static void open_masked(hf_fixture *f, const char *variant, bool give_back)
{
    hf_fixture_open(f, variant, 1);
    hf_fixture_masks(f, give_back);
}

static void fill_named(beam_model *m, const char *part, double value)
{
    const beam_params params = beam_model_params(m);
    int filled = 0;
    for (int i = 0; i < params.n; i++)
        if (strstr(params.at[i].name, part)) {
            test_fill(params.at[i].value, value);
            filled++;
        }
    assert_true(filled > 0);
}

static float *logits_of(beam_model *m, const hf_fixture *f)
{
    beam_model_forward(m, &f->batch, 0);
    return hf_fixture_logits(m, &f->batch);
}

static size_t logit_bytes(const hf_fixture *f)
{
    return (size_t)(f->batch.tokens * f->config.vocab_size) * sizeof(float);
}

static void token_losses(beam_model *m, const beam_batch *b, double *out)
{
    beam_model_forward(m, b, 0);
    assert_int_equal(beam_model_token_losses(m, out), BEAM_OK);
}

/* Gates of zeros keep everything, whatever dropped experts would give back. */
static void zero_gates_are_the_base_model(void **state)
{
    hf_fixture f;
    open_masked(&f, *state, true);
    beam_model *masked = hf_fixture_model(&f, BEAM_SCOPE_NONE, false);
    const char *const parts[] = {"mask_gate.weight", "mask_gate.bias", "router_scale", "rank_bias"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        fill_named(masked, parts[i], 0);
    f.config.mask.present = false;
    beam_model *base = hf_fixture_model(&f, BEAM_SCOPE_NONE, false);
    float *with = logits_of(masked, &f), *without = logits_of(base, &f);
    assert_memory_equal(with, without, logit_bytes(&f));
    free(with);
    free(without);
    beam_model_close(masked);
    beam_model_close(base);
    hf_fixture_close(&f);
}

static void assert_closed(beam_model *m)
{
    double stats[TINY_STATS];
    assert_int_equal(beam_model_take_stats(m, stats), BEAM_OK);
    for (int64_t i = 0; i < beam_moe_layers(beam_model_config_of(m)); i++) {
        const double *row = stats + i * (BEAM_STAT_EXPERTS + beam_model_config_of(m)->experts);
        assert_true(row[BEAM_STAT_KEPT] == 0 && row[BEAM_STAT_TOKENS] > 0);
        assert_true(row[BEAM_STAT_NONE_KEPT] == row[BEAM_STAT_TOKENS]);
    }
}

static void assert_no_expert_gradient(beam_model *m)
{
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++) {
        const bool expert = strstr(params.at[i].name, ".experts.") != NULL;
        for (int64_t j = 0; j < beam_count(params.at[i].grad); j++) {
            const double g = test_get(params.at[i].grad, j);
            assert_true(isfinite(g) && (!expert || g == 0));
        }
    }
}

/* With every candidate dropped, the routed part is exactly zero: the same bits as from experts whose last
 * projection is zero. Shared experts run all the same. */
static void closed_gates_leave_the_rest(void **state)
{
    hf_fixture f;
    beam_forward_result r;
    open_masked(&f, *state, false);
    beam_model *m = hf_fixture_model(&f, BEAM_SCOPE_ALL, false);
    fill_named(m, "mask_gate.bias", -100);
    float *closed = logits_of(m, &f);
    assert_int_equal(beam_model_result(m, &r), BEAM_OK);
    assert_true(isfinite(r.loss) && r.loss > 0);
    assert_closed(m);
    tiny_gradients(m, &f.batch, penalty, 0);
    assert_no_expert_gradient(m);

    f.config.mask.present = false;
    beam_model *base = hf_fixture_model(&f, BEAM_SCOPE_NONE, false);
    fill_named(base, ".experts.down_proj", 0);
    float *zero = logits_of(base, &f);
    assert_memory_equal(closed, zero, logit_bytes(&f));
    if (f.config.shared_size > 0) {
        fill_named(base, ".shared_expert", 0);
        float *nothing = logits_of(base, &f);
        assert_memory_not_equal(closed, nothing, logit_bytes(&f));
        free(nothing);
    }
    free(closed);
    free(zero);
    beam_model_close(m);
    beam_model_close(base);
    hf_fixture_close(&f);
}

/* All gradients of one model, as a new block of its bytes. */
static void *gradients_of(hf_fixture *f, beam_scope scope, bool checkpointing, double balance, beam_model **m)
{
    *m = hf_fixture_model(f, scope, checkpointing);
    tiny_gradients(*m, &f->batch, penalty, balance);
    const beam_tensor grads = beam_model_grads(*m);
    void *copy = malloc(beam_bytes(grads));
    assert_non_null(copy);
    beam_download(&f->be, copy, grads);
    return copy;
}

static void recomputation_changes_no_bit(void **state)
{
    hf_fixture f;
    open_masked(&f, *state, true);
    beam_model *kept, *recomputed;
    void *a = gradients_of(&f, BEAM_SCOPE_ALL, false, 0.01, &kept);
    void *b = gradients_of(&f, BEAM_SCOPE_ALL, true, 0.01, &recomputed);
    assert_memory_equal(a, b, beam_bytes(beam_model_grads(kept)));
    free(a);
    free(b);
    beam_model_close(kept);
    beam_model_close(recomputed);
    hf_fixture_close(&f);
}

static void threads_change_no_bit(void **state)
{
    hf_fixture f;
    beam_model *m;
    open_masked(&f, *state, true);
    void *one = gradients_of(&f, BEAM_SCOPE_ALL, false, 0.01, &m);
    beam_model_close(m);
    hf_fixture_close(&f);
    for (int threads = 2; threads <= 3; threads++) {
        hf_fixture_open(&f, *state, threads);
        hf_fixture_masks(&f, true);
        void *several = gradients_of(&f, BEAM_SCOPE_ALL, false, 0.01, &m);
        assert_memory_equal(one, several, beam_bytes(beam_model_grads(m)));
        free(several);
        beam_model_close(m);
        hf_fixture_close(&f);
    }
    free(one);
}

/* Without load balancing, which is a loss of routers that train. */
static void frozen_base_gives_the_same_gate_gradients(void **state)
{
    hf_fixture f;
    open_masked(&f, *state, true);
    beam_model *all, *masks;
    free(gradients_of(&f, BEAM_SCOPE_ALL, false, 0, &all));
    free(gradients_of(&f, BEAM_SCOPE_MASKS, false, 0, &masks));
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
    assert_int_equal(gates, 5 * beam_moe_layers(&f.config));
    beam_model_close(all);
    beam_model_close(masks);
    hf_fixture_close(&f);
}

/* Kept experts only, or everything with dropped weights at zero: the same output. */
static void evaluation_skips_exactly(void **state)
{
    hf_fixture f;
    double stats[TINY_STATS];
    open_masked(&f, *state, false);
    beam_model *m = hf_fixture_model(&f, BEAM_SCOPE_ALL, false);
    float *skipping = logits_of(m, &f);
    beam_model_forward(m, &f.batch, 1.0); /* keeps every candidate's output for backward */
    float *complete = hf_fixture_logits(m, &f.batch);
    assert_memory_equal(skipping, complete, logit_bytes(&f));
    assert_int_equal(beam_model_take_stats(m, stats), BEAM_OK);
    const double kept = beam_stats_mean(&f.config, stats, BEAM_STAT_KEPT);
    assert_true(kept > 0 && kept < (double)f.config.top_k); /* something was there to skip */
    free(skipping);
    free(complete);
    beam_model_close(m);
    hf_fixture_close(&f);
}

static void smaller_batches_fit_the_same_model(void **state)
{
    hf_fixture f;
    tiny_batch b;
    tiny_batch_make(&b);
    open_masked(&f, *state, false);
    beam_model *m = hf_fixture_model(&f, BEAM_SCOPE_NONE, false);
    double whole[TINY_TOKENS], part[TINY_TOKENS];
    token_losses(m, &b.batch, whole);
    tiny_batch first = b; /* the first sequence alone */
    first.batch.tokens = b.first[1];
    first.batch.sequences = 1;
    token_losses(m, &first.batch, part);
    for (int64_t t = 0; t < first.batch.tokens; t++)
        assert_true(fabs(part[t] - whole[t]) <= 1e-5);
    beam_model_close(m);
    hf_fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HF_TEST_VARIANTS(zero_gates_are_the_base_model),
        HF_TEST_VARIANTS(closed_gates_leave_the_rest),
        HF_TEST_VARIANTS(recomputation_changes_no_bit),
        HF_TEST_VARIANTS(threads_change_no_bit),
        HF_TEST_VARIANTS(frozen_base_gives_the_same_gate_gradients),
        HF_TEST_VARIANTS(evaluation_skips_exactly),
        HF_TEST_VARIANTS(smaller_batches_fit_the_same_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
