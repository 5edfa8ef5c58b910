/* What each rank holds when experts are spread over ranks: loaded and initialised, the same numbers as in one
 * place; memory as planned; and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/file.h"
#include "model/checkpoint.h"
#include "model/load.h"
#include "model/spread_model.h"
#include "support/compare.h"

static const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = TINY_TOKENS};

static void need(beam_status status)
{
    if (status != BEAM_OK)
        fail_msg("%s", beam_last_error());
}

/* The whole parameter, read on every rank in pieces that cross the borders of shares. */
static void expect_whole(beam_model *spread, const beam_param *p, beam_tensor whole)
{
    enum { PIECE = 1000 };
    float values[PIECE];
    const int64_t n = beam_model_numbers(spread, p);
    assert_int_equal(n, beam_count(whole));
    for (int64_t first = 0; first < n; first += PIECE) {
        const int64_t count = n - first < PIECE ? n - first : PIECE;
        need(beam_model_read(spread, p, first, count, values));
        assert_memory_equal(values, (const float *)whole.data + first, (size_t)count * sizeof *values);
    }
}

static void expect_shares(beam_model *spread, beam_model *whole)
{
    const beam_params got = beam_model_params(spread), want = beam_model_params(whole);
    assert_int_equal(got.n, want.n);
    for (int i = 0; i < got.n; i++) {
        assert_true(test_same(want.at[i].name, got.at[i].value,
                              spread_share(beam_model_config_of(spread), want.at[i].value)));
        expect_whole(spread, &got.at[i], want.at[i].value);
    }
}

static void load_both(test_ranks *job, int ranks, const char *name, beam_hf_layout layout)
{
    const beam_model_config c = test_family_config(name);
    beam_model *whole = spread_open(job, &c, &options, 1), *spread = spread_open(job, &c, &options, ranks);
    need(beam_model_load(whole, test_family_folder(name, layout), false));
    need(beam_model_load(spread, test_family_folder(name, layout), false));
    expect_shares(spread, whole);
    beam_model_close(whole);
    beam_model_close(spread);
}

static void folders_of_every_family(void **state)
{
    test_ranks *job = *state;
    int loaded = 0;
    for (int k = 0, ranks; (ranks = spread_ranks(job, k)); k++)
        for (int i = 0; test_family_name(i); i++) {
            const char *name = test_family_name(i);
            if (test_family_config(name).experts % ranks)
                continue;
            load_both(job, ranks, name, BEAM_HF_PUBLISHED);
            if (test_family_fused(name))
                load_both(job, ranks, name, BEAM_HF_FUSED);
            loaded++;
        }
    assert_true(loaded >= 2);
}

static void random_experts_are_the_same_everywhere(void **state)
{
    test_ranks *job = *state;
    const beam_model_config c = spread_config();
    beam_model *whole = spread_open(job, &c, &options, 1);
    beam_model *spread = spread_open(job, &c, &options, job->comm.size);
    need(beam_model_init_base(whole, 7));
    need(beam_model_init_gates(whole, BEAM_GATES_OPEN, 1));
    need(beam_model_init_base(spread, 7));
    need(beam_model_init_gates(spread, BEAM_GATES_OPEN, 1));
    expect_shares(spread, whole);
    beam_model_close(whole);
    beam_model_close(spread);
}

/* Without expert 0's tensor every rank refuses the folder, whoever would have read it. */
static void a_folder_without_an_expert_is_refused(void **state)
{
    test_ranks *job = *state;
    char folder[] = "/tmp/beam-shares-XXXXXX";
    assert_non_null(mkdtemp(folder));
    const beam_model_config c = spread_config();
    beam_model *whole = spread_open(job, &c, &options, 1);
    beam_model *spread = spread_open(job, &c, &options, job->comm.size);
    need(beam_model_init_base(whole, 1));
    test_checkpoint saved = test_checkpoint_of(whole, BEAM_HF_PUBLISHED, false);
    test_checkpoint_write(&saved, folder);
    need(beam_model_load(spread, folder, false));
    test_checkpoint_remove(&saved, "model.layers.1.mlp.experts.0.down_proj.weight");
    test_checkpoint_write(&saved, folder);
    assert_int_equal(beam_model_load(spread, folder, false), BEAM_EMODEL);
    assert_non_null(strstr(beam_last_error(), "model.layers.1.mlp.experts.0.down_proj.weight is missing"));
    test_checkpoint_free(&saved);
    beam_model_close(whole);
    beam_model_close(spread);
    assert_int_equal(beam_remove_folder(folder), BEAM_OK);
}

static void memory_is_what_was_planned(void **state)
{
    test_ranks *job = *state;
    const beam_model_config c = spread_config();
    beam_model_options train = options;
    beam_memory_plan whole, plan;
    train.scope = BEAM_SCOPE_ALL;
    need(beam_model_plan(&whole, &c, &train, job->be.real));
    train.expert_ranks = job->comm.size;
    need(beam_model_plan(&plan, &c, &train, job->be.real));
    beam_model *m = spread_open(job, &c, &train, job->comm.size);
    const beam_memory_plan real = beam_model_memory(m);
    assert_int_equal(real.gradients, plan.gradients);
    assert_int_equal(real.activations, plan.activations);
    assert_int_equal(real.scratch, plan.scratch);
    assert_true(plan.parameters < whole.parameters && plan.gradients < whole.gradients &&
                plan.activations < whole.activations);
    beam_model_close(m);
}

static void expect_refused(test_ranks *job, const beam_model_config *c, const beam_model_options *o,
                           beam_status status, const char *words)
{
    beam_model *m;
    assert_int_equal(beam_model_open(&m, c, o, &job->be), status);
    assert_null(m);
    assert_non_null(strstr(beam_last_error(), words));
}

static void what_cannot_be_shared_is_refused(void **state)
{
    test_ranks *job = *state;
    beam_model_config c = spread_config();
    beam_model_options o = options;
    o.comm = &job->comm;
    o.expert_ranks = 3;
    expect_refused(job, &c, &o, BEAM_ECONFIG, "3 ranks cannot share 8 experts evenly");
    o.expert_ranks = 8;
    expect_refused(job, &c, &o, BEAM_ECONFIG, "do not form groups of 8");
}

/* Ranks that differ in their largest micro-batch would wait for each other: the first pass says so. */
static void other_bounds_are_refused(void **state)
{
    test_ranks *job = *state;
    const beam_model_config c = spread_config();
    beam_backend be; /* which fails for good */
    beam_forward_result result;
    tiny_batch b;
    beam_model *m;
    beam_model_options o = {.max_tokens = TINY_TOKENS + (job->comm.rank == 1),
                            .expert_ranks = job->comm.size,
                            .comm = &job->comm};
    need(beam_backend_cpu(&be, 1));
    need(beam_model_open(&m, &c, &o, &be));
    need(beam_model_init_base(m, 1));
    need(beam_model_init_gates(m, BEAM_GATES_OPEN, 1));
    spread_batch(job, false, &b);
    beam_model_forward(m, &b.batch, 0);
    assert_int_equal(beam_model_result(m, &result), BEAM_ECOMM);
    assert_non_null(strstr(beam_last_error(), "the ranks differ in the tokens of a micro-batch"));
    beam_model_close(m);
    beam_backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_of_every_family),
        cmocka_unit_test(random_experts_are_the_same_everywhere),
        cmocka_unit_test(a_folder_without_an_expert_is_refused),
        cmocka_unit_test(memory_is_what_was_planned),
        cmocka_unit_test(what_cannot_be_shared_is_refused),
        cmocka_unit_test(other_bounds_are_refused),
    };
    return cmocka_run_group_tests(tests, test_ranks_open, test_ranks_close);
}
