/* The whole model in double: backward is the derivative of the loss (soft masks, which are differentiable),
 * for every parameter, with penalty and load balancing in the loss. By definition no gradient flows into the
 * router through the gate's log(K g') term, so that term's weight a is 0 where everything is checked; the
 * last layer's gate, which no router depends on, is checked with a != 0. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/tiny_model.h"
#include "support/differences.h"
#include "support/values.h"

static const double penalty = 0.7, balance = 0.05, tolerance = 1e-8;

typedef struct {
    beam_model *model;
    const tiny_batch *batch;
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

/* Every parameter, at up to `most` of its elements spread over it. */
static void check_parameter(beam_model *m, const tiny_batch *b, const beam_param *p)
{
    enum { MOST = 24 };
    const int64_t n = beam_count(p->value), stride = n > MOST ? n / MOST : 1;
    for (int64_t i = 0; i < n; i += stride) {
        coordinate c = {.model = m, .batch = b, .value = p->value, .index = i};
        const double numeric = test_derivative(loss_at, &c, test_get(p->value, i), 1e-3);
        const double analytic = test_get(p->grad, i);
        if (!(fabs(analytic - numeric) <= tolerance))
            fail_msg("%s[%lld]: backward %.12g, finite difference %.12g", p->name, (long long)i, analytic,
                     numeric);
    }
}

static void set_router_scale(beam_model *m, double a)
{
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++)
        if (strstr(params.at[i].name, "router_scale"))
            test_fill(params.at[i].value, a);
}

/* name_part: only parameters whose name holds it. */
static void check_model(const beam_model_config *config, beam_mask_form form, double router_scale,
                        const char *name_part, bool checkpointing)
{
    beam_backend be;
    tiny_batch b = {0};
    tiny_batch_make(&b);
    assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
    beam_model *m = tiny_open(config, BEAM_SCOPE_ALL, checkpointing, &be);
    set_router_scale(m, router_scale);
    beam_expert_rule rule = beam_model_rule(m);
    rule.form = form;
    beam_model_set_rule(m, rule);
    tiny_gradients(m, &b, penalty, balance);
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++)
        if (strstr(params.at[i].name, name_part))
            check_parameter(m, &b, &params.at[i]);
    beam_model_close(m);
    beam_backend_close(&be);
}

static void soft_model_normalised(void **state)
{
    (void)state;
    const beam_model_config c = tiny_config(true, false, false);
    check_model(&c, BEAM_MASK_SOFT, 0, "", false);
}

static void soft_model_plain_tied(void **state)
{
    (void)state;
    beam_model_config c = tiny_config(false, true, false);
    c.mask.threshold = 0.3;
    check_model(&c, BEAM_MASK_SOFT, 0, "", false);
}

static void soft_model_dense_layer_recomputed(void **state)
{
    (void)state;
    const beam_model_config c = tiny_config(true, true, true);
    check_model(&c, BEAM_MASK_SOFT, 0, "", true);
}

static void paper_gate(void **state)
{
    (void)state;
    beam_model_config c = tiny_config(true, false, false);
    c.mask.bias = c.mask.router_features = false;
    check_model(&c, BEAM_MASK_SOFT, 0, "", false);
}

static void router_aware_gate_of_the_last_layer(void **state)
{
    (void)state;
    const beam_model_config c = tiny_config(true, false, false);
    check_model(&c, BEAM_MASK_SOFT, 1.3, "layers.1.mlp.mask_gate", false);
}

/* Hard masks are constant between the points where one flips, so for parameters that no later gate sees the
 * derivative is exact too: backward over kept pairs alone misses nothing. */
static void hard_masks_above_the_last_gate(void **state)
{
    (void)state;
    const beam_model_config c = tiny_config(true, false, false);
    check_model(&c, BEAM_MASK_HARD, 1.0, "layers.1.mlp.experts", false);
    check_model(&c, BEAM_MASK_HARD, 1.0, "model.norm", false);
    check_model(&c, BEAM_MASK_HARD, 1.0, "lm_head", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(soft_model_normalised),
        cmocka_unit_test(soft_model_plain_tied),
        cmocka_unit_test(soft_model_dense_layer_recomputed),
        cmocka_unit_test(paper_gate),
        cmocka_unit_test(router_aware_gate_of_the_last_layer),
        cmocka_unit_test(hard_masks_above_the_last_gate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
