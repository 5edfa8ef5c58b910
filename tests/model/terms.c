/* The loss terms beyond the method's plain ones, over the whole model in double: backward is the derivative
 * of the loss with squared masks, another temperature, the union of batches, a teacher, and all together. And
 * what each scope trains. */
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

typedef struct {
    const char *name;
    double penalty, union_penalty, temperature;
    bool squared;
    double teacher, teacher_temperature; /* weight 0: none */
    bool give_back;
} terms;

typedef struct {
    beam_backend be;
    beam_model *model;
    tiny_batch b;
    terms what;
} fixture;

static const int64_t group = 3; /* of 13 tokens: four groups, the last token in none */

static void open_model(fixture *f, const terms *what, beam_scope scope)
{
    beam_model_config c = tiny_config(true, false, false);
    c.mask.give_back = what->give_back;
    *f = (fixture){.what = *what};
    tiny_batch_make(&f->b);
    assert_int_equal(beam_backend_cpu(&f->be, 1), BEAM_OK);
    const beam_model_options options = {
        .scope = scope, .max_tokens = TINY_TOKENS, .distill = {what->teacher, what->teacher_temperature}};
    assert_int_equal(beam_model_open(&f->model, &c, &options, &f->be), BEAM_OK);
    tiny_fill(f->model, 0.5);
    /* No gradient flows into the router through the gate's router terms: without them it is the derivative.
     */
    const beam_params params = beam_model_params(f->model);
    for (int i = 0; i < params.n; i++)
        if (strstr(params.at[i].name, "router_scale"))
            test_fill(params.at[i].value, 0);
    beam_model_keep_teacher(f->model);
    beam_expert_rule rule = beam_model_rule(f->model);
    rule.form = BEAM_MASK_SOFT;
    rule.temperature = what->temperature;
    beam_model_set_rule(f->model, rule);
}

static void close_model(fixture *f)
{
    beam_model_close(f->model);
    beam_backend_close(&f->be);
}

/* Forward and backward; the loss as the trainer adds it up. */
static double pass(fixture *f)
{
    double stats[TINY_STATS];
    const beam_model_config *c = beam_model_config_of(f->model);
    const terms *w = &f->what;
    const beam_batch *b = &f->b.batch;
    const double layers = (double)beam_moe_layers(c), groups = (double)(b->tokens / group);
    beam_forward_result r;
    const beam_mask_terms masks = {
        .penalty = w->penalty / (layers * (double)(b->counted_total * c->top_k)),
        .squared = w->squared,
        .union_weight = w->union_penalty / (layers * groups),
        .union_group = group,
    };
    assert_int_equal(beam_model_take_stats(f->model, NULL), BEAM_OK);
    beam_model_forward(f->model, b, 1.0 / (double)b->targets);
    beam_model_backward(f->model, &(beam_backward_args){.masks = masks});
    assert_int_equal(beam_model_result(f->model, &r), BEAM_OK);
    assert_int_equal(beam_model_take_stats(f->model, stats), BEAM_OK);
    const double mask = beam_stats_mean(c, stats, w->squared ? BEAM_STAT_SQUARE : BEAM_STAT_SOFT);
    return (1 - w->teacher) * r.loss / (double)r.targets + w->teacher * r.divergence / (double)r.targets +
           w->penalty * mask + w->union_penalty * r.unions / (layers * groups);
}

typedef struct {
    fixture *f;
    beam_tensor value;
    int64_t index;
} coordinate;

static double loss_at(void *context, double x)
{
    const coordinate *c = context;
    const double before = test_get(c->value, c->index);
    test_set(c->value, c->index, x);
    const double loss = pass(c->f);
    test_set(c->value, c->index, before);
    return loss;
}

static void check_parameter(fixture *f, const beam_param *p)
{
    enum { MOST = 10 };
    const int64_t n = beam_count(p->value), stride = n > MOST ? n / MOST : 1;
    for (int64_t i = 0; i < n; i += stride) {
        beam_model_zero_grads(f->model);
        pass(f);
        const double analytic = test_get(p->grad, i);
        coordinate c = {.f = f, .value = p->value, .index = i};
        const double numeric = test_derivative(loss_at, &c, test_get(p->value, i), 1e-3);
        if (!(fabs(analytic - numeric) <= 1e-8))
            fail_msg("%s: %s[%lld]: backward %.12g, finite difference %.12g", f->what.name, p->name,
                     (long long)i, analytic, numeric);
    }
}

static void check_scope(const terms *what, beam_scope scope)
{
    fixture f;
    open_model(&f, what, scope);
    const beam_params params = beam_model_params(f.model);
    for (int i = 0; i < params.n; i++)
        if (params.at[i].flags & BEAM_TRAIN)
            check_parameter(&f, &params.at[i]);
    close_model(&f);
}

static void backward_is_the_derivative(void **state)
{
    static const terms all[] = {
        {"squares", .penalty = 0.7, .temperature = 1, .squared = true},
        {"temperature", .penalty = 0.7, .temperature = 0.6},
        {"union", .union_penalty = 1.3, .temperature = 1},
        {"teacher", .temperature = 1, .teacher = 0.6, .teacher_temperature = 2},
        {"teacher alone", .temperature = 1, .teacher = 1, .teacher_temperature = 1},
        {"all", 0.4, 0.9, 1.7, true, 0.3, 0.8, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].teacher == 0) {
            check_scope(&all[i], BEAM_SCOPE_ALL);
            continue;
        }
        check_scope(&all[i], BEAM_SCOPE_MASKS);
        check_scope(&all[i], BEAM_SCOPE_ROUTERS); /* the teacher stays as it is */
    }
}

static double divergence(fixture *f)
{
    beam_forward_result r;
    pass(f);
    assert_int_equal(beam_model_result(f->model, &r), BEAM_OK);
    return r.divergence;
}

/* With every mask open the student is the teacher, until a router has changed. */
static void nothing_to_learn_from_oneself(void **state)
{
    static const terms what = {"self", .temperature = 1, .teacher = 1, .teacher_temperature = 1.5};
    (void)state;
    for (beam_scope scope = BEAM_SCOPE_MASKS; scope <= BEAM_SCOPE_ROUTERS; scope++) {
        fixture f;
        open_model(&f, &what, scope);
        tiny_fill(f.model, 0);
        beam_expert_rule rule = beam_model_rule(f.model);
        rule.form = BEAM_MASK_HARD;
        beam_model_set_rule(f.model, rule);
        assert_true(divergence(&f) == 0);
        if (scope == BEAM_SCOPE_ROUTERS) {
            test_fill(tiny_param(f.model, "model.layers.1.mlp.gate.weight")->value, 0.1);
            assert_true(divergence(&f) > 0);
            beam_model_keep_teacher(f.model);
            assert_true(divergence(&f) == 0);
        }
        close_model(&f);
    }
}

static void count_layer(void *context, const beam_moe_seen *seen)
{
    (void)seen;
    ++*(int *)context;
}

/* Only the pass that trains is seen and counted, and its part in the loss of the targets is as without a
 * teacher. */
static void nobody_sees_the_teacher(void **state)
{
    static const terms with = {"with", .temperature = 1, .teacher = 0.5, .teacher_temperature = 2},
                       without = {"without", .temperature = 1};
    double stats[2][TINY_STATS] = {{0}};
    double loss[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        fixture f;
        beam_forward_result r;
        int layers = 0;
        open_model(&f, i ? &with : &without, BEAM_SCOPE_MASKS);
        beam_model_observe(f.model, count_layer, &layers);
        beam_model_forward(f.model, &f.b.batch, 1);
        assert_int_equal(beam_model_result(f.model, &r), BEAM_OK);
        assert_int_equal(beam_model_take_stats(f.model, stats[i]), BEAM_OK);
        assert_int_equal(layers, beam_moe_layers(beam_model_config_of(f.model)));
        assert_true((r.divergence > 0) == (i == 1));
        loss[i] = r.loss;
        beam_model_forward(f.model, &f.b.batch, 0); /* evaluation has no teacher */
        assert_int_equal(beam_model_result(f.model, &r), BEAM_OK);
        assert_true(r.divergence == 0 && r.loss == loss[i]);
        close_model(&f);
    }
    assert_true(loss[0] == loss[1]);
    assert_memory_equal(stats[0], stats[1], sizeof stats[0]);
}

/* The routers' gradients are those of training everything; nothing of the base besides has one. */
static void routers_train_alone(void **state)
{
    static const terms what = {"routers", .penalty = 0.5, .temperature = 1};
    fixture some, all;
    (void)state;
    open_model(&some, &what, BEAM_SCOPE_ROUTERS);
    open_model(&all, &what, BEAM_SCOPE_ALL);
    pass(&some);
    pass(&all);
    for (int i = 0; i < 2; i++) { /* and the load-balancing loss on top */
        fixture *f = i ? &all : &some;
        beam_model_forward(f->model, &f->b.batch, 1);
        beam_model_backward(f->model, &(beam_backward_args){.balance = 0.5});
    }
    const beam_params a = beam_model_params(some.model), b = beam_model_params(all.model);
    int routers = 0;
    for (int i = 0; i < a.n; i++) {
        const bool router = strstr(a.at[i].name, "mlp.gate.weight") != NULL;
        assert_int_equal((a.at[i].flags & BEAM_TRAIN) != 0, router || (a.at[i].flags & BEAM_MASK_GATE));
        if (a.at[i].flags & BEAM_TRAIN)
            assert_memory_equal(a.at[i].grad.data, b.at[i].grad.data, beam_bytes(a.at[i].grad));
        routers += router;
    }
    assert_true(routers > 0);
    close_model(&some);
    close_model(&all);
}

/* Every token wants one of two null experts with probability 1, and is sure which: f = P for both, uneven.
 * The balance takes the mean of f for both, so it is (E + N) / 2 whatever P is. What null experts leave to
 * the others underflows, and their weights are 0. */
static void null_experts_are_balanced_as_one(void **state)
{
    (void)state;
    double stats[TINY_STATS];
    beam_backend be;
    tiny_batch b = {0};
    beam_model_config c = tiny_config(true, false, false);
    c.mask.present = false;
    c.null_experts = 2;
    tiny_batch_make(&b);
    assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
    beam_model *m = tiny_open(&c, BEAM_SCOPE_ALL, false, &be);
    for (int layer = 0; layer < 2; layer++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.%d.mlp.gate.weight", layer);
        const beam_tensor router = tiny_param(m, name)->value;
        test_fill(beam_rows(router, 0, c.experts), 0);
        for (int64_t i = 0; i < c.hidden_size; i++) {
            const double w = 1e5 * test_get(router, c.experts * c.hidden_size + i);
            test_set(router, c.experts * c.hidden_size + i, w);
            test_set(router, (c.experts + 1) * c.hidden_size + i, -w);
        }
    }
    assert_true(fabs(tiny_loss(m, &b.batch, 0, 1) - tiny_loss(m, &b.batch, 0, 0) - 4) <= 1e-9);
    tiny_gradients(m, &b.batch, 0, 0.1);
    const beam_tensor grads = beam_model_grads(m);
    for (int64_t i = 0; i < beam_count(grads); i++)
        assert_true(isfinite(test_get(grads, i)));
    assert_int_equal(beam_model_take_stats(m, stats), BEAM_OK);
    assert_true(beam_stats_mean(&c, stats, BEAM_STAT_KEPT) == 2);
    beam_model_close(m);
    beam_backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backward_is_the_derivative),       cmocka_unit_test(nothing_to_learn_from_oneself),
        cmocka_unit_test(nobody_sees_the_teacher),          cmocka_unit_test(routers_train_alone),
        cmocka_unit_test(null_experts_are_balanced_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
