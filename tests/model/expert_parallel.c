/* Experts spread over ranks compute what they compute in one place: losses, statistics and gradients of every
 * rank's own batch, gradients of experts summed over the ranks that share them; and only kept pairs travel
 * where dropped ones are of no use. All ranks run every test; where one fails alone, the others wait until
 * the test's time is up. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/spread_model.h"
#include "support/compare.h"
#include "support/values.h"

static const double penalty = 0.5, balance = 0.05;

/* A row's products are rounded by where it stands among the others. */
static double tolerance(const test_ranks *job)
{
    return job->be.real == BEAM_F64 ? 1e-10 : 1e-5;
}

/* What a case does to the whole model and its rule. */
typedef struct {
    const char *name;
    beam_scope scope;
    bool masks, soft, checkpointing, uneven, give_back;
    int nulls;
    void (*change)(beam_model *whole);
} situation;

static void fill(beam_model *m, const char *part, double value)
{
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++)
        if (strstr(params.at[i].name, part))
            test_fill(params.at[i].value, value);
}

static void close_expert(beam_model *m, int64_t expert)
{
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++)
        if (strstr(params.at[i].name, "mask_gate.bias"))
            test_set(params.at[i].value, expert, -100);
}

static void close_some(beam_model *m)
{
    close_expert(m, 1);
    close_expert(m, 6);
    close_expert(m, 7); /* the last rank of four has no kept expert */
}

/* Equal router logits: all tokens go to the experts 0 and 1. */
static void crowd(beam_model *m)
{
    fill(m, "mlp.gate.weight", 0);
}

static void crowd_one(beam_model *m)
{
    crowd(m);
    fill(m, "mask_gate", 0);
    close_expert(m, 1);
}

static void close_all(beam_model *m)
{
    fill(m, "mask_gate.bias", -100);
}

/* Experts whose outputs are 0: which pairs are kept changes nothing behind them. */
static void silence(beam_model *m)
{
    fill(m, "experts.down_proj", 0);
}

static const situation situations[] = {
    {.name = "hard", .scope = BEAM_SCOPE_ALL, .masks = true},
    {.name = "give back", .scope = BEAM_SCOPE_ALL, .masks = true, .give_back = true},
    {.name = "soft", .scope = BEAM_SCOPE_ALL, .masks = true, .soft = true},
    {.name = "gates only", .scope = BEAM_SCOPE_MASKS, .masks = true},
    {.name = "uneven", .scope = BEAM_SCOPE_ALL, .masks = true, .uneven = true, .checkpointing = true},
    {.name = "no masks", .scope = BEAM_SCOPE_ALL},
    {.name = "null experts", .scope = BEAM_SCOPE_ALL, .nulls = 4, .uneven = true},
    {.name = "closed experts", .scope = BEAM_SCOPE_ALL, .masks = true, .change = close_some},
    {.name = "crowded rank", .scope = BEAM_SCOPE_ALL, .masks = true, .change = crowd},
    {.name = "crowded expert", .scope = BEAM_SCOPE_ALL, .masks = true, .uneven = true, .change = crowd_one},
    {.name = "all closed", .scope = BEAM_SCOPE_ALL, .masks = true, .change = close_all},
};
enum { SITUATIONS = sizeof situations / sizeof *situations };

typedef struct {
    beam_model *whole, *spread;
    beam_model_config config;
    tiny_batch batch;
    int ranks;
} pair;

static void set_form(beam_model *m, const situation *s)
{
    beam_expert_rule rule = beam_model_rule(m);
    rule.form = s->soft ? BEAM_MASK_SOFT : BEAM_MASK_HARD;
    beam_model_set_rule(m, rule);
}

static void open_pair(test_ranks *job, const situation *s, int ranks, pair *p)
{
    *p = (pair){.config = spread_config(), .ranks = ranks};
    p->config.mask.present = s->masks;
    p->config.mask.give_back = s->give_back;
    p->config.null_experts = s->nulls;
    const beam_model_options options = {
        .scope = s->scope, .max_tokens = TINY_TOKENS, .checkpointing = s->checkpointing};
    p->whole = spread_open(job, &p->config, &options, 1);
    tiny_fill(p->whole, 0.5);
    if (s->change)
        s->change(p->whole);
    p->spread = spread_open(job, &p->config, &options, ranks);
    spread_copy(p->spread, p->whole);
    set_form(p->whole, s);
    set_form(p->spread, s);
    spread_batch(job, s->uneven, &p->batch);
}

static void close_pair(pair *p)
{
    beam_model_close(p->whole);
    beam_model_close(p->spread);
}

static void need(beam_status status)
{
    if (status != BEAM_OK)
        fail_msg("%s", beam_last_error());
}

static void expect_near(const situation *s, const char *what, double got, double want, double limit)
{
    if (!(fabs(got - want) <= limit * fmax(fabs(want), 1)))
        fail_msg("%s: %s is %.12g, not %.12g", s->name, what, got, want);
}

/* What one evaluation gives. */
typedef struct {
    double token[TINY_TOKENS], stats[TINY_STATS];
    beam_forward_result result;
} outcome;

static void evaluate(beam_model *m, const beam_batch *b, outcome *o)
{
    *o = (outcome){0};
    need(beam_model_take_stats(m, NULL));
    beam_model_forward(m, b, 0);
    need(beam_model_result(m, &o->result));
    need(beam_model_token_losses(m, o->token));
    need(beam_model_take_stats(m, o->stats));
}

static void evaluation_is_that_of_one_rank(void **state)
{
    test_ranks *job = *state;
    for (int i = 0, ranks; (ranks = spread_ranks(job, i)); i++)
        for (int k = 0; k < SITUATIONS; k++) {
            pair p;
            outcome whole, spread;
            open_pair(job, &situations[k], ranks, &p);
            evaluate(p.whole, &p.batch.batch, &whole);
            evaluate(p.spread, &p.batch.batch, &spread);
            const double limit = tolerance(job);
            expect_near(&situations[k], "loss", spread.result.loss, whole.result.loss, limit);
            expect_near(&situations[k], "balance", spread.result.balance, whole.result.balance, limit);
            assert_int_equal(spread.result.correct, whole.result.correct);
            for (int t = 0; t < TINY_TOKENS; t++)
                expect_near(&situations[k], "token loss", spread.token[t], whole.token[t], limit);
            for (int n = 0; n < TINY_STATS; n++)
                expect_near(&situations[k], "statistic", spread.stats[n], whole.stats[n], limit);
            close_pair(&p);
        }
}

/* A rank without anything to evaluate serves the others' tokens, and counts nothing. */
static void idle_ranks_serve_others(void **state)
{
    test_ranks *job = *state;
    pair p;
    outcome whole, spread = {0};
    const situation *s = &situations[0];
    open_pair(job, s, job->comm.size, &p);
    evaluate(p.whole, &p.batch.batch, &whole);
    if (job->comm.rank == 1) {
        need(beam_model_take_stats(p.spread, NULL));
        need(beam_model_idle(p.spread));
        need(beam_model_take_stats(p.spread, spread.stats));
        for (int n = 0; n < TINY_STATS; n++)
            assert_true(spread.stats[n] == 0);
    } else {
        evaluate(p.spread, &p.batch.batch, &spread);
        expect_near(s, "loss", spread.result.loss, whole.result.loss, tolerance(job));
    }
    close_pair(&p);
}

/* Sums of the whole models' gradients over the ranks of this rank's group, in place. */
static void add_group(test_ranks *job, int ranks, beam_tensor grad)
{
    const size_t bytes = beam_bytes(grad);
    const int64_t n = beam_count(grad);
    const int first = job->comm.rank / ranks * ranks;
    char *all = malloc(bytes * (size_t)job->comm.size);
    assert_non_null(all);
    beam_comm_host_gather(&job->comm, grad.data, all, bytes);
    need(job->comm.status);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int r = first; r < first + ranks; r++) {
            beam_tensor theirs = grad;
            theirs.data = all + bytes * (size_t)r;
            sum += test_get(theirs, i);
        }
        test_set(grad, i, sum);
    }
    free(all);
}

static void compare_gradients(test_ranks *job, const situation *s, const pair *p)
{
    const beam_params whole = beam_model_params(p->whole), spread = beam_model_params(p->spread);
    const beam_model_config *c = beam_model_config_of(p->spread);
    bool same = true;
    int compared = 0;
    for (int i = 0; i < whole.n; i++) {
        const beam_param *want = &whole.at[i], *got = &spread.at[i];
        if (!want->grad.data)
            continue;
        if (want->grad.ndim == 3)
            add_group(job, p->ranks, want->grad);
        same = test_close(want->name, got->grad, spread_share(c, want->grad), tolerance(job), 1e-3) && same;
        compared++;
    }
    if (!same || !compared)
        fail_msg("%s: gradients over %d ranks differ", s->name, p->ranks);
}

static void gradients_are_those_of_one_rank(void **state)
{
    test_ranks *job = *state;
    for (int i = 0, ranks; (ranks = spread_ranks(job, i)); i++)
        for (int k = 0; k < SITUATIONS; k++) {
            pair p;
            open_pair(job, &situations[k], ranks, &p);
            tiny_gradients(p.whole, &p.batch.batch, penalty, balance);
            tiny_gradients(p.spread, &p.batch.batch, penalty, balance);
            compare_gradients(job, &situations[k], &p);
            close_pair(&p);
        }
}

static void twice_the_same_bits(void **state)
{
    test_ranks *job = *state;
    for (int k = 0; k < SITUATIONS; k++) {
        pair p;
        open_pair(job, &situations[k], job->comm.size, &p);
        tiny_gradients(p.spread, &p.batch.batch, penalty, balance);
        const beam_tensor grads = beam_model_grads(p.spread);
        char *first = malloc(beam_bytes(grads));
        assert_non_null(first);
        memcpy(first, grads.data, beam_bytes(grads));
        tiny_gradients(p.spread, &p.batch.batch, penalty, balance);
        assert_memory_equal(first, grads.data, beam_bytes(grads));
        free(first);
        close_pair(&p);
    }
}

/* Pairs of the batch, all tokens of which count, that go to experts of other ranks: kept ones. */
static double remote_pairs(const pair *p, const double *stats)
{
    const beam_model_config *c = beam_model_config_of(p->spread);
    const int64_t columns = BEAM_STAT_EXPERTS + c->experts;
    double n = 0;
    for (int64_t i = 0; i < beam_moe_layers(c) * c->experts; i++) {
        const int64_t e = i % c->experts, first = beam_first_expert(c);
        if (e < first || e >= first + beam_held_experts(c))
            n += stats[i / c->experts * columns + BEAM_STAT_EXPERTS + e];
    }
    return n;
}

/* Bytes that all ranks together send while one forward pass runs. */
static double traffic(test_ranks *job, const pair *p, double grad_scale, double *stats)
{
    need(beam_model_take_stats(p->spread, NULL));
    const int64_t before = job->comm.sent;
    beam_model_forward(p->spread, &p->batch.batch, grad_scale);
    const int64_t after = job->comm.sent;
    need(beam_model_take_stats(p->spread, stats));
    return spread_sum(job, (double)(after - before));
}

static double backward_traffic(test_ranks *job, const pair *p)
{
    const int64_t before = job->comm.sent;
    beam_model_backward(p->spread, &(beam_backward_args){.masks.penalty = penalty});
    const int64_t after = job->comm.sent;
    need(beam_sync(&job->be));
    return spread_sum(job, (double)(after - before));
}

/* Beside the counts, which cost the same whatever is kept, a forward pass moves the rows of kept pairs to
 * other ranks and back, in training too. Backward counts kept and dropped pairs. Of both it sends inputs and
 * output gradients and gets a number back; of kept ones also a weight, and input gradients back. */
static void dropped_pairs_cost_little(void **state)
{
    static const situation silent = {
        .name = "silent experts", .scope = BEAM_SCOPE_ALL, .masks = true, .change = silence};
    test_ranks *job = *state;
    for (int i = 0, ranks; (ranks = spread_ranks(job, i)); i++) {
        double stats[TINY_STATS];
        pair closed, open;
        open_pair(job, &situations[SITUATIONS - 1], ranks, &closed);
        open_pair(job, &silent, ranks, &open);
        memset(open.batch.counted, 1, TINY_TOKENS);
        traffic(job, &closed, 0, stats); /* in the first pass ranks compare their bounds */
        traffic(job, &open, 0, stats);
        const double counts = traffic(job, &closed, 0, stats);
        const double bytes = traffic(job, &open, 0, stats);
        const double kept = spread_sum(job, remote_pairs(&open, stats));
        const double number = (double)beam_dtype_size(job->be.wide);
        const double row = (double)open.config.hidden_size * (double)beam_dtype_size(job->be.real);
        const double training = traffic(job, &open, 1, stats), backward = backward_traffic(job, &open);
        beam_expert_rule rule = beam_model_rule(open.spread);
        rule.masks = false; /* all candidates are kept */
        beam_model_set_rule(open.spread, rule);
        const double every = traffic(job, &open, 0, stats), all = spread_sum(job, remote_pairs(&open, stats));
        assert_true(kept > 0 && kept < all);
        assert_true(bytes == counts + 2 * kept * row && training == bytes);
        assert_true(every == counts + 2 * all * row);
        assert_true(backward == 2 * counts + all * (2 * row + number) + kept * (row + number));
        close_pair(&closed);
        close_pair(&open);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evaluation_is_that_of_one_rank),  cmocka_unit_test(idle_ranks_serve_others),
        cmocka_unit_test(gradients_are_those_of_one_rank), cmocka_unit_test(twice_the_same_bits),
        cmocka_unit_test(dropped_pairs_cost_little),
    };
    return cmocka_run_group_tests(tests, test_ranks_open, test_ranks_close);
}
