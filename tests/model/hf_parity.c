/* The model in float equals Hugging Face transformers: logits, losses, every gradient, the load-balancing
 * loss, ten steps of AdamW, and mask gates in both forms as transformers and autograd compute them. Prints
 * the largest errors of every variant. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/hf_compare.h"
#include "optim/adamw.h"

static const double logit_tolerance = 2e-5, loss_tolerance = 1e-6, gradient_tolerance = 1e-5,
                    adamw_tolerance = 1e-5, mask_loss_weight = 0.7;

static double mean_loss(beam_model *m)
{
    beam_forward_result r;
    hf_need(beam_model_result(m, &r));
    return r.loss / (double)r.targets;
}

static double forward_and_backward(beam_model *m, const beam_batch *b, double penalty)
{
    beam_model_zero_grads(m);
    beam_model_forward(m, b, 1.0 / (double)b->targets);
    const double loss = mean_loss(m);
    beam_model_backward(m, &(beam_backward_args){.masks.penalty = penalty});
    hf_need(beam_sync(beam_model_backend(m)));
    return loss;
}

static void compare_base(hf_fixture *f, hf_errors *e)
{
    beam_model *m = hf_fixture_model(f, BEAM_SCOPE_ALL, false);
    const double loss = forward_and_backward(m, &f->batch, 0);
    hf_compare_logits(e, f, m, "base");
    hf_compare_number(&e->loss, f, "base.loss", loss);
    hf_compare_gradients(e, f, m, "base.grad.");
    beam_model_close(m);
}

/* The load-balancing loss alone: no token is a target. DeepSeek-V2 has none in transformers. */
static void compare_balance(hf_fixture *f, hf_errors *e)
{
    beam_forward_result r;
    if (!beam_weights_find(f->expected, "base.balance"))
        return;
    beam_model *m = hf_fixture_model(f, BEAM_SCOPE_ALL, false);
    beam_batch no_targets = f->batch;
    no_targets.targets = 0;
    no_targets.target = malloc((size_t)f->batch.tokens * sizeof *no_targets.target);
    assert_non_null(no_targets.target);
    for (int64_t t = 0; t < f->batch.tokens; t++)
        no_targets.target[t] = -1;
    beam_model_zero_grads(m);
    beam_model_forward(m, &no_targets, 1);
    hf_need(beam_model_result(m, &r));
    beam_model_backward(m, &(beam_backward_args){.balance = 1});
    hf_compare_number(&e->loss, f, "base.balance", r.balance);
    hf_compare_gradients(e, f, m, "base.balance_grad.");
    free(no_targets.target);
    beam_model_close(m);
}

static void compare_adamw(hf_fixture *f, hf_errors *e)
{
    enum { STEPS = 10 };
    beam_adamw_state optimizer;
    beam_model *m = hf_fixture_model(f, BEAM_SCOPE_ALL, false);
    float *want = hf_fixture_expect(f, "adamw.losses", BEAM_F32, STEPS);
    hf_need(beam_adamw_open_whole(&optimizer, beam_model_params(m), beam_model_grads(m), &f->be));
    for (int64_t step = 1; step <= STEPS; step++) {
        const double loss = forward_and_backward(m, &f->batch, 0);
        hf_worst(&e->adamw, fabs(loss - (double)want[step - 1]));
        beam_adamw_step(&optimizer, &f->be,
                        &(beam_adamw_args){.learning_rate = 1e-3,
                                           .beta1 = 0.9,
                                           .beta2 = 0.95,
                                           .epsilon = 1e-8,
                                           .weight_decay = 0.1,
                                           .grad_scale = 1,
                                           .step = step});
    }
    beam_adamw_close(&optimizer, &f->be);
    free(want);
    beam_model_close(m);
}

/* form: "hard", "soft", or "give": hard, and dropped experts give something back. */
static void compare_masks(hf_fixture *f, hf_errors *e, const char *form)
{
    char name[32], prefix[32];
    hf_fixture_masks(f, strcmp(form, "give") == 0);
    const int64_t layers = beam_moe_layers(&f->config);
    const double pairs = (double)(layers * f->batch.counted_total * f->config.top_k);
    beam_model *m = hf_fixture_model(f, BEAM_SCOPE_ALL, false);
    beam_expert_rule rule = beam_model_rule(m);
    rule.form = strcmp(form, "soft") == 0 ? BEAM_MASK_SOFT : BEAM_MASK_HARD;
    beam_model_set_rule(m, rule);

    hf_route_seen seen = {.fixture = f, .form = form, .errors = e};
    beam_model_observe(m, hf_see_route, &seen);
    const double loss = forward_and_backward(m, &f->batch, mask_loss_weight / pairs);
    assert_int_equal(seen.layers, layers);
    double *stats = calloc((size_t)(layers * (BEAM_STAT_EXPERTS + f->config.experts)), sizeof *stats);
    assert_non_null(stats);
    hf_need(beam_model_take_stats(m, stats));

    hf_compare_logits(e, f, m, form);
    snprintf(name, sizeof name, "%s.task_loss", form);
    hf_compare_number(&e->loss, f, name, loss);
    snprintf(name, sizeof name, "%s.mask_loss", form);
    hf_compare_number(&e->loss, f, name, beam_stats_mean(&f->config, stats, BEAM_STAT_SOFT));
    snprintf(prefix, sizeof prefix, "%s.grad.", form);
    hf_compare_gradients(e, f, m, prefix);
    free(stats);
    beam_model_close(m);
}

static void equals_transformers(void **state)
{
    hf_fixture f;
    hf_errors base = {0}, masks = {0};
    hf_fixture_open(&f, *state, 2);
    compare_base(&f, &base);
    compare_balance(&f, &base);
    compare_adamw(&f, &base);
    compare_masks(&f, &masks, "hard");
    compare_masks(&f, &masks, "soft");
    compare_masks(&f, &masks, "give");
    printf("%-20s logits %.1e  loss %.1e  gradients %.1e  AdamW %.1e  masked: mask logits %.1e  logits %.1e  "
           "loss %.1e  gradients %.1e\n",
           f.variant, base.logit, base.loss, base.gradient, base.adamw, masks.mask_logit, masks.logit,
           masks.loss, masks.gradient);
    assert_true(base.logit <= logit_tolerance && masks.logit <= logit_tolerance);
    assert_true(masks.mask_logit <= logit_tolerance);
    assert_true(base.loss <= loss_tolerance && masks.loss <= loss_tolerance);
    if (!(base.gradient <= gradient_tolerance && masks.gradient <= gradient_tolerance))
        fail_msg("worst gradients: %s, %s", base.worst, masks.worst);
    assert_true(base.adamw <= adamw_tolerance);
    hf_fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {HF_TEST_VARIANTS(equals_transformers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
