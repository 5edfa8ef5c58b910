/* Whole models of every family in double: backward is the derivative of the loss (soft masks, which are
 * differentiable), for every parameter, with penalty and load balancing in the loss. By definition no
 * gradient flows into the router through the gate's log(K g') term, so that term's weight a is 0 where
 * everything is checked; the last layer's gate, which no router depends on, is checked with a != 0.
 *
 * Routing and the limit of clip_qkv make the loss differentiable only piece by piece: steps are so small that
 * none of these models' points lies within one of a border. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/hf_fixture.h"
#include "model/load.h"
#include "model/tiny_model.h"
#include "support/differences.h"
#include "support/values.h"

static const double penalty = 0.7, balance = 0.05, step = 3e-5, tolerance = 1e-8;

typedef struct {
    beam_model *model;
    const beam_batch *batch;
    beam_tensor value;
    int64_t index;
} coordinate;

static double loss_at(void *context, double x)
{
    const coordinate *c = context;
    const double before = test_get(c->value, c->index);
    test_set(c->value, c->index, x);
    const double loss = tiny_loss(c->model, c->batch, penalty, balance);
    test_set(c->value, c->index, before);
    return loss;
}

/* Every parameter, at some of its elements spread over it. */
static void check_parameter(beam_model *m, const beam_batch *b, const beam_param *p)
{
    enum { LEAST = 8 };
    const int64_t n = beam_count(p->value), stride = n > LEAST ? n / LEAST : 1;
    for (int64_t i = 0; i < n; i += stride) {
        coordinate c = {.model = m, .batch = b, .value = p->value, .index = i};
        const double numeric = test_derivative(loss_at, &c, test_get(p->value, i), step);
        const double analytic = test_get(p->grad, i);
        if (!(fabs(analytic - numeric) <= tolerance))
            fail_msg("%s[%lld]: backward %.12g, finite difference %.12g", p->name, (long long)i, analytic,
                     numeric);
    }
}

static void scale_router_terms(beam_model *m, double scale)
{
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++)
        if (strstr(params.at[i].name, "router_scale"))
            test_set(params.at[i].value, 0, scale * test_get(params.at[i].value, 0));
}

static void check_parameters(beam_model *m, const beam_batch *b, const char *stem)
{
    const beam_params params = beam_model_params(m);
    int checked = 0;
    for (int i = 0; i < params.n; i++)
        if (strncmp(params.at[i].name, stem, strlen(stem)) == 0) {
            check_parameter(m, b, &params.at[i]);
            checked++;
        }
    assert_true(checked > 0);
}

/* Parameters whose names begin with `stem`, of the fixture's model with the masks of its config. */
static void check_model(hf_fixture *f, beam_mask_form form, double router_terms, const char *stem)
{
    tiny_batch b = {0};
    tiny_batch_make(&b);
    beam_model *m = hf_fixture_model(f, BEAM_SCOPE_ALL, false);
    scale_router_terms(m, router_terms);
    beam_expert_rule rule = beam_model_rule(m);
    rule.form = form;
    beam_model_set_rule(m, rule);
    tiny_gradients(m, &b.batch, penalty, balance);
    check_parameters(m, &b.batch, stem);
    beam_model_close(m);
}

/* Of the last mixture of experts: names that begin with "model.layers.N.mlp." and `rest`. */
static void check_last_mixture(hf_fixture *f, beam_mask_form form, const char *rest)
{
    char stem[64];
    int last = (int)f->config.layers - 1;
    while (!f->config.moe_layer[last])
        last--;
    snprintf(stem, sizeof stem, "model.layers.%d.mlp.%s", last, rest);
    check_model(f, form, 1, stem);
}

static void every_parameter(void **state)
{
    hf_fixture f;
    hf_fixture_open(&f, *state, 1);
    hf_fixture_masks(&f, true);
    check_model(&f, BEAM_MASK_SOFT, 0, "");
    hf_fixture_close(&f);
}

static void router_aware_gate_of_the_last_layer(void **state)
{
    hf_fixture f;
    hf_fixture_open(&f, *state, 1);
    hf_fixture_masks(&f, true);
    check_last_mixture(&f, BEAM_MASK_SOFT, "mask_gate.");
    hf_fixture_close(&f);
}

/* Hard masks are constant between the points where one flips, so for parameters that no later gate sees the
 * derivative is exact too: backward over kept pairs alone misses nothing. */
static void hard_masks_above_the_last_gate(void **state)
{
    hf_fixture f;
    hf_fixture_open(&f, *state, 1);
    hf_fixture_masks(&f, true);
    check_last_mixture(&f, BEAM_MASK_HARD, "experts.");
    check_last_mixture(&f, BEAM_MASK_HARD, "mask_gate.dropped_output");
    check_model(&f, BEAM_MASK_HARD, 1, "model.norm");
    if (!f.config.tie_word_embeddings)
        check_model(&f, BEAM_MASK_HARD, 1, "lm_head");
    hf_fixture_close(&f);
}

/* Neither bias nor terms of the router, nothing given back, and another threshold. */
static void paper_gate(void **state)
{
    hf_fixture f;
    hf_fixture_open(&f, *state, 1);
    f.config.mask = (beam_mask_config){.present = true, .threshold = 0.3};
    check_model(&f, BEAM_MASK_SOFT, 0, "");
    hf_fixture_close(&f);
}

/* Without masks; some candidates are null experts, whose gradient is the router's and the balance's alone. */
static void null_experts(void **state)
{
    hf_fixture f;
    tiny_batch b = {0};
    double stats[TINY_STATS];
    hf_fixture_open(&f, *state, 1);
    tiny_batch_make(&b);
    f.config.null_experts = 5;
    f.config.initializer_range = 1;
    beam_model *m = hf_fixture_model(&f, BEAM_SCOPE_ALL, false);
    hf_need(beam_model_init_nulls(m, 1));
    tiny_gradients(m, &b.batch, 0, balance);
    hf_need(beam_model_take_stats(m, stats));
    const double active = beam_stats_mean(&f.config, stats, BEAM_STAT_KEPT);
    assert_true(active > 0.2 && active < (double)f.config.top_k - 0.2);
    check_parameters(m, &b.batch, "");
    beam_model_close(m);
    hf_fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HF_TEST_VARIANTS(every_parameter),
        HF_TEST_VARIANTS(router_aware_gate_of_the_last_layer),
        HF_TEST_VARIANTS(hard_masks_above_the_last_gate),
        HF_TEST(paper_gate, "qwen3_moe"),
        HF_TEST(null_experts, "qwen3_moe"),
        HF_TEST(null_experts, "qwen2_moe"),
        HF_TEST(null_experts, "olmoe"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
