/* Whole runs whose ranks share the experts: the numbers of a run whose ranks all have them, but for rounding,
 * and a checkpoint that any later process can use. */
#include <math.h>
#include <stdio.h>

#include "train/job.h"
#include "train/source.h"
#include "train/tiny_run.h"

static void expect_near(const beam_config *a, const beam_config *b, const char *number)
{
    const double x = tiny_run_metric(a, number), y = tiny_run_metric(b, number);
    if (!(fabs(x - y) <= 1e-5 * fabs(y)))
        fail_msg("%s: %.9g and %.9g", number, x, y);
}

/* Evaluated on five batches, so that one rank of two has one more than the other. */
static void the_run_of_ranks_with_all_experts(void **state)
{
    (void)state;
    static const char *const all[] = {"eval_rows=10", "trainable=masks+router", "router_aux_loss_coef=0.01",
                                      NULL};
    static const char *const share[] = {"eval_rows=10", "trainable=masks+router", "router_aux_loss_coef=0.01",
                                        "expert_parallel=2", NULL};
    static const char *const numbers[] = {"loss",         "task_loss",     "mask_loss",
                                          "balance_loss", "avg_active",    "grad_norm",
                                          "eval_loss",    "eval_accuracy", "eval_avg_active"};
    const beam_config a = tiny_run_config("whole", all), b = tiny_run_config("shared", share);
    job_expect(&a, 2, NULL, 0);
    job_expect(&b, 2, NULL, 0);
    job_said(&b, "2 ranks share the experts of every layer");
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        expect_near(&b, &a, numbers[i]);
}

/* Interrupted and resumed: bit for bit. One process alone evaluates what two trained. */
static void checkpoints_are_those_of_any_run(void **state)
{
    (void)state;
    static const char *const keys[] = {"expert_parallel=2", "distill.weight=0.5", "mask.protect=auto", NULL};
    beam_run_info info;
    beam_backend be;
    beam_model *m;
    const beam_config whole = tiny_run_config("without-stop", keys), part = tiny_run_config("stopped", keys);
    job_expect(&whole, 2, NULL, 0);
    job_expect(&part, 2, "more=--stop-after=3", 7);
    job_expect(&part, 2, NULL, 0);
    tiny_run_same(&whole, &part);
    assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
    if (beam_model_source_run(part.output_dir, 64, &be, &m, &info) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    beam_model_close(m);
    beam_backend_close(&be);
}

/* A layer made again sends nothing. */
static void recomputation_is_each_ranks_choice(void **state)
{
    (void)state;
    static const char *const share[] = {"expert_parallel=2", NULL};
    const beam_config c = tiny_run_config("recompute", share);
    job_expect(&c, 2, "[ $OMPI_COMM_WORLD_RANK = 1 ] && more=gradient_checkpointing=true", 0);
}

static void what_cannot_be_shared_is_refused(void **state)
{
    (void)state;
    static const char *const four[] = {"expert_parallel=4", NULL}, *const three[] = {"expert_parallel=3",
                                                                                     NULL};
    beam_config c = tiny_run_config("four", four);
    job_expect(&c, 2, NULL, 2);
    job_said(&c, "4 ranks cannot share 6 experts evenly");
    c = tiny_run_config("three", three);
    job_expect(&c, 2, NULL, 2);
    job_said(&c, "the 2 ranks of this job do not form groups of 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_run_of_ranks_with_all_experts),
        cmocka_unit_test(checkpoints_are_those_of_any_run),
        cmocka_unit_test(recomputation_is_each_ranks_choice),
        cmocka_unit_test(what_cannot_be_shared_is_refused),
    };
    return job_possible() ? cmocka_run_group_tests(tests, tiny_run_open, scratch_close) : 77;
}
