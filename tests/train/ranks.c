/* Many ranks do what one does, bit for bit, at any split of a step's micro-batches and across resuming. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/job.h"
#include "train/tiny_run.h"

enum { MOST_KEYS = 16 };

/* A configuration of four micro-batches per step, cut for that many ranks. */
static beam_config cut(const char *name, const char *const keys[], int ranks)
{
    char full[64], passes[64];
    const char *all[MOST_KEYS + 2] = {NULL};
    int n = 0;
    for (; keys[n]; n++)
        all[n] = keys[n];
    snprintf(full, sizeof full, "%s-%d", name, ranks);
    snprintf(passes, sizeof passes, "gradient_accumulation_steps=%d", 4 / ranks);
    all[n] = passes;
    return tiny_run_config(full, all);
}

/* The checkpoint's arrays are one file, byte for byte. */
static void same_file(const beam_config *a, const beam_config *b)
{
    char path[2][BEAM_PATH_MAX + 64];
    size_t size[2];
    snprintf(path[0], sizeof path[0], "%s/checkpoint-000008/state.h5", a->output_dir);
    snprintf(path[1], sizeof path[1], "%s/checkpoint-000008/state.h5", b->output_dir);
    char *x = scratch_read(path[0], &size[0]), *y = scratch_read(path[1], &size[1]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(x, y, size[0]);
    free(x);
    free(y);
}

static void check_worlds(const char *name, const char *const keys[])
{
    const beam_config one = cut(name, keys, 1);
    tiny_run_expect(&one, 0, BEAM_OK);
    for (int ranks = 2; ranks <= 4; ranks *= 2) {
        const beam_config many = cut(name, keys, ranks);
        job_expect(&many, ranks, NULL, 0);
        job_said(&many, ranks == 2 ? "2 ranks over mpi" : "4 ranks over mpi");
        tiny_run_same(&one, &many);
        same_file(&one, &many);
    }
}

static void masks_with_a_target(void **state)
{
    (void)state;
    static const char *const keys[] = {"mask.penalty=null",      "mask.target_active=1.5",
                                       "mask.union_penalty=0.1", "mask.union_batch=8",
                                       "distill.weight=0.5",     NULL};
    check_worlds("masks", keys);
}

static void all_weights(void **state)
{
    (void)state;
    static const char *const keys[] = {"trainable=all",
                                       "router_aux_loss_coef=0.01",
                                       "weight_decay=0.1",
                                       "mask.penalty=null",
                                       "mask.target_active=1.5",
                                       "max_grad_norm=0.1",
                                       NULL};
    check_worlds("all", keys);
}

/* Every part of a run by another number of ranks. The last one says what it would take to go on. */
static void resuming_with_other_ranks(void **state)
{
    (void)state;
    static const char *const keys[] = {"trainable=all", "mask.penalty=null", "mask.target_active=1.5", NULL};
    const beam_config whole = cut("resume-whole", keys, 1);
    tiny_run_expect(&whole, 0, BEAM_OK);
    const int ranks[] = {1, 2, 4};
    for (int i = 0; i < 3; i++) {
        beam_config part = cut("resume", keys, ranks[i]);
        snprintf(part.output_dir, sizeof part.output_dir, "%s", scratch_path("resume"));
        if (ranks[i] == 1)
            tiny_run_expect(&part, 2, BEAM_STOPPED);
        else
            job_expect(&part, ranks[i], "more=--stop-after=2", 7);
    }
    beam_config last = cut("resume", keys, 1);
    snprintf(last.output_dir, sizeof last.output_dir, "%s", scratch_path("resume"));
    last.gradient_accumulation_steps = 2;
    tiny_run_expect(&last, 0, BEAM_ECONFIG);
    assert_true(message_has("gradient_accumulation_steps: 4"));
    last.gradient_accumulation_steps = 4;
    tiny_run_expect(&last, 0, BEAM_OK);
    tiny_run_same(&whole, &last);
}

/* Two ranks with two rows each, and one with four: the same step but for the order of sums. */
static void larger_batches(void **state)
{
    (void)state;
    static const char *const two[] = {"gradient_accumulation_steps=1", NULL};
    static const char *const one[] = {"gradient_accumulation_steps=1", "per_device_train_batch_size=4", NULL};
    static const char *const numbers[] = {"loss", "task_loss", "mask_loss", "avg_active", "grad_norm"};
    const beam_config a = tiny_run_config("rows-of-two", two), b = tiny_run_config("rows-of-one", one);
    job_expect(&a, 2, NULL, 0);
    tiny_run_expect(&b, 0, BEAM_OK);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const double x = tiny_run_metric(&a, numbers[i]), y = tiny_run_metric(&b, numbers[i]);
        if (!(fabs(x - y) <= 1e-5 * fabs(y)))
            fail_msg("%s: %.9g and %.9g", numbers[i], x, y);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_with_a_target),
        cmocka_unit_test(all_weights),
        cmocka_unit_test(resuming_with_other_ranks),
        cmocka_unit_test(larger_batches),
    };
    return job_possible() ? cmocka_run_group_tests(tests, tiny_run_open, scratch_close) : 77;
}
