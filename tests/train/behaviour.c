/* What training does: learns, prunes, reaches its target; and what it refuses. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "data/checkpoint.h"
#include "train/tiny_run.h"

static void learns_its_data(void **state)
{
    (void)state;
    static const char *const keys[] = {"trainable=all",
                                       "mask.mode=off",
                                       "max_steps=150",
                                       "learning_rate=0.02",
                                       "eval_steps=0",
                                       "gradient_accumulation_steps=1",
                                       "per_device_train_batch_size=8",
                                       NULL};
    const beam_config c = tiny_run_config("learns", keys);
    tiny_run_expect(&c, 0, BEAM_OK);
    /* Three quarters of the tokens follow from the one before; ln 40 = 3.7 is knowing nothing. */
    assert_true(tiny_run_metric(&c, "eval_loss") < 1.8);
}

static void larger_penalty_keeps_fewer_experts(void **state)
{
    (void)state;
    static const char *const none[] = {"mask.penalty=0", "max_steps=60", NULL};
    static const char *const some[] = {"mask.penalty=0.5", "max_steps=60", NULL};
    static const char *const much[] = {"mask.penalty=5", "max_steps=60", NULL};
    const beam_config a = tiny_run_config("penalty-none", none), b = tiny_run_config("penalty-some", some),
                      c = tiny_run_config("penalty-much", much);
    tiny_run_expect(&a, 0, BEAM_OK);
    tiny_run_expect(&b, 0, BEAM_OK);
    tiny_run_expect(&c, 0, BEAM_OK);
    const double open = tiny_run_metric(&a, "eval_avg_active"), half = tiny_run_metric(&b, "eval_avg_active"),
                 closed = tiny_run_metric(&c, "eval_avg_active");
    assert_true(open > half && half > closed && closed < 1.0);
}

/* Over weights that learn at the same time: experts of a random model are of no use, so nothing would keep
 * them open. */
static void controller_reaches_its_target(void **state)
{
    (void)state;
    static const char *const keys[] = {"trainable=all",
                                       "mask.penalty=null",
                                       "mask.target_active=1.5",
                                       "max_steps=300",
                                       "mask.penalty_warmup_steps=100",
                                       "min_lr_ratio=0.2",
                                       "eval_steps=0",
                                       NULL};
    const beam_config c = tiny_run_config("target", keys);
    tiny_run_expect(&c, 0, BEAM_OK);
    const double active = tiny_run_metric(&c, "eval_avg_active");
    if (!(active > 1.3 && active < 1.7))
        fail_msg("Avg-K %g, target 1.5", active);
}

/* Nothing but gates would train, and there are none. */
static void a_base_without_a_rate_stays(void **state)
{
    (void)state;
    static const char *const one[] = {"trainable=all", "mask.mode=off", "base_lr_ratio=0", "max_steps=1",
                                      NULL};
    static const char *const many[] = {"trainable=all", "mask.mode=off", "base_lr_ratio=0", "max_steps=10",
                                       NULL};
    static const char *const learns[] = {"trainable=all", "mask.mode=off", "max_steps=10", NULL};
    const beam_config a = tiny_run_config("rate-one", one), b = tiny_run_config("rate-many", many),
                      c = tiny_run_config("rate-full", learns);
    tiny_run_expect(&a, 0, BEAM_OK);
    tiny_run_expect(&b, 0, BEAM_OK);
    tiny_run_expect(&c, 0, BEAM_OK);
    const double loss = tiny_run_metric(&a, "eval_loss");
    assert_true(loss > 0 && tiny_run_metric(&b, "eval_loss") == loss);
    assert_true(tiny_run_metric(&c, "eval_loss") < loss);
}

static void non_finite_stops_without_a_checkpoint(void **state)
{
    (void)state;
    static const char *const keys[] = {"trainable=all",
                                       "mask.mode=off",
                                       "learning_rate=1e38",
                                       "max_grad_norm=1e30",
                                       "lr_scheduler_type=constant",
                                       "warmup_steps=1",
                                       "max_steps=100",
                                       "max_skipped_steps=3",
                                       "eval_steps=0",
                                       NULL};
    const beam_config c = tiny_run_config("diverges", keys);
    tiny_run_expect(&c, 0, BEAM_ENUMERIC);
    assert_true(message_has("learning_rate"));
    char path[BEAM_PATH_MAX];
    bool found;
    assert_int_equal(beam_checkpoint_newest(c.output_dir, path, sizeof path, &found), BEAM_OK);
    assert_false(found);
}

static void another_run_is_not_resumed(void **state)
{
    (void)state;
    static const char *const seed[] = {"seed=7", NULL};
    static const char *const length[] = {"cutoff_len=16", NULL};
    static const char *const rate[] = {"learning_rate=0.002", NULL};
    const beam_config first = tiny_run_config("mine", NULL);
    tiny_run_expect(&first, 0, BEAM_OK);
    beam_config other = tiny_run_config("mine", seed); /* another random base model */
    tiny_run_expect(&other, 0, BEAM_EMODEL);
    assert_true(message_has("another base model"));
    other = tiny_run_config("mine", length);
    tiny_run_expect(&other, 0, BEAM_EMODEL);
    assert_true(message_has("another dataset"));
    other = tiny_run_config("mine", rate);
    tiny_run_expect(&other, 0, BEAM_ECONFIG);
    assert_true(message_has("other settings"));
}

static void two_jobs_do_not_share_a_folder(void **state)
{
    (void)state;
    const beam_config c = tiny_run_config("shared", NULL);
    int lock;
    assert_int_equal(beam_run_lock(c.output_dir, &lock), BEAM_OK);
    tiny_run_expect(&c, 0, BEAM_EIO);
    beam_run_unlock(lock);
    tiny_run_expect(&c, 0, BEAM_OK);
}

static void metrics_that_cannot_be_written(void **state)
{
    (void)state;
    const beam_config c = tiny_run_config("blocked", NULL);
    char path[BEAM_PATH_MAX + 32];
    assert_int_equal(mkdir(c.output_dir, 0755), 0);
    snprintf(path, sizeof path, "%s/metrics.jsonl", c.output_dir);
    assert_int_equal(mkdir(path, 0755), 0); /* a folder where the file should be */
    tiny_run_expect(&c, 0, BEAM_EIO);
    assert_true(message_has("metrics.jsonl"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns_its_data),
        cmocka_unit_test(larger_penalty_keeps_fewer_experts),
        cmocka_unit_test(controller_reaches_its_target),
        cmocka_unit_test(a_base_without_a_rate_stays),
        cmocka_unit_test(non_finite_stops_without_a_checkpoint),
        cmocka_unit_test(another_run_is_not_resumed),
        cmocka_unit_test(two_jobs_do_not_share_a_folder),
        cmocka_unit_test(metrics_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, tiny_run_open, scratch_close);
}
