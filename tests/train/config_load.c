/* What a configuration becomes: defaults, values of every kind, aliases, the command line, the hash. */
#include "config_file.h"

#include <math.h>

static beam_config loaded(const char *text, const char *const overrides[])
{
    beam_config c;
    if (load(text, &c, NULL, overrides) != BEAM_OK)
        fail_msg("refused: %s", beam_last_error());
    return c;
}

#define SAYING(...) ((const char *[]){__VA_ARGS__, NULL})

static void test_defaults(void **state)
{
    (void)state;
    const beam_config c = loaded(NEEDED, NULL);
    assert_string_equal(c.model_name_or_path, "model");
    assert_string_equal(c.dataset, "train.h5");
    assert_string_equal(c.eval_dataset, "");
    assert_string_equal(c.resume_from_checkpoint, "auto");
    assert_int_equal(c.trainable, BEAM_TRAIN_MASKS);
    assert_int_equal(c.mask.mode, BEAM_MASK_ON);
    assert_int_equal(c.mask.init, BEAM_INIT_OPEN);
    assert_true(c.mask.penalty == 0.3);
    assert_true(isnan(c.mask.target_active));
    assert_true(c.mask.router_features && !c.mask.give_back && c.packing && !c.gradient_checkpointing);
    assert_int_equal(c.lr_scheduler_type, BEAM_LR_COSINE);
    assert_true(c.learning_rate == 1e-3 && c.adam_epsilon == 1e-8 && c.warmup_ratio == 0.03);
    assert_int_equal(c.cutoff_len, 2048);
    assert_int_equal(c.save_total_limit, 3);
    assert_int_equal(c.report_to, BEAM_REPORT_TENSORBOARD);
    assert_int_equal(c.seed, 42);
}

static void test_values_of_every_kind(void **state)
{
    (void)state;
    const beam_config c = loaded("model_name_or_path: 'my model'  # a comment\n"
                                 "dataset: \"d\\u00e9j\\u00e0.h5\"\n"
                                 "trainable: all\n"
                                 "packing: False\n"
                                 "seed: 9223372036854775807\n"
                                 "learning_rate: 2.5e-4\n"
                                 "mask: {init: zero, init_bias: -2, give_back: true}\n"
                                 "mask.threshold: 0.25\n"
                                 "max_steps: null\n"
                                 "eval_dataset:\n",
                                 NULL);
    assert_string_equal(c.model_name_or_path, "my model");
    assert_string_equal(c.dataset, "d\xc3\xa9j\xc3\xa0.h5");
    assert_int_equal(c.trainable, BEAM_TRAIN_ALL);
    assert_false(c.packing);
    assert_true(c.seed == (uint64_t)INT64_MAX);
    assert_true(c.learning_rate == 2.5e-4);
    assert_int_equal(c.mask.init, BEAM_INIT_ZERO);
    assert_true(c.mask.init_bias == -2 && c.mask.give_back && c.mask.threshold == 0.25);
    assert_int_equal(c.max_steps, 0);
}

static void test_windows_line_ends_and_byte_order_mark(void **state)
{
    (void)state;
    const beam_config c = loaded("\xef\xbb\xbfmodel_name_or_path: m\r\ndataset: d\r\nseed: 7\r\n", NULL);
    assert_string_equal(c.dataset, "d");
    assert_int_equal(c.seed, 7);
}

static void test_names_of_other_tools(void **state)
{
    (void)state;
    const beam_config c = loaded("base_model: m\ndatasets: d\nsequence_len: 64\nsample_packing: false\n"
                                 "micro_batch_size: 3\nlr: 0.5\nlr_scheduler: linear\nclip_grad: 2\n"
                                 "num_epochs: 4\ntrain_iters: 5\nmoe_aux_loss_coeff: 0.25\n",
                                 NULL);
    assert_string_equal(c.model_name_or_path, "m");
    assert_int_equal(c.cutoff_len, 64);
    assert_false(c.packing);
    assert_int_equal(c.per_device_train_batch_size, 3);
    assert_true(c.learning_rate == 0.5 && c.max_grad_norm == 2 && c.num_train_epochs == 4);
    assert_int_equal(c.lr_scheduler_type, BEAM_LR_LINEAR);
    assert_int_equal(c.max_steps, 5);
    assert_true(c.router_aux_loss_coef == 0.25);
}

static void test_command_line_wins(void **state)
{
    (void)state;
    const beam_config c = loaded(NEEDED "seed: 1\nlearning_rate: 1\n",
                                 SAYING("seed=2", "--learning-rate", "3e-4", "--mask.init-bias=-2",
                                        "--mask.target-active", "1.5", "seed=3"));
    assert_int_equal(c.seed, 3);
    assert_true(c.learning_rate == 3e-4);
    assert_true(c.mask.init_bias == -2);
}

static void test_target_replaces_the_default_penalty(void **state)
{
    (void)state;
    const beam_config c = loaded(NEEDED "mask: {target_active: 1.2}\n", NULL);
    assert_true(isnan(c.mask.penalty) && c.mask.target_active == 1.2);
    const beam_config d =
        loaded(NEEDED "mask: {penalty: 0.1}\n", SAYING("mask.penalty=null", "mask.target_active=2"));
    assert_true(isnan(d.mask.penalty) && d.mask.target_active == 2);
    const beam_config e = loaded(NEEDED "mask: {penalty: 0.1, target_active: null}\n", NULL);
    assert_true(e.mask.penalty == 0.1 && isnan(e.mask.target_active));
}

static void test_hash_sees_numbers_only(void **state)
{
    (void)state;
    const beam_config a = loaded(NEEDED, NULL);
    const beam_config same = loaded(NEEDED, SAYING("output_dir=x", "logging_steps=1", "threads=1", "seed=42",
                                                   "dataset=elsewhere/train.h5", "save_steps=7"));
    const beam_config seed = loaded(NEEDED, SAYING("seed=43"));
    const beam_config rate = loaded(NEEDED, SAYING("learning_rate=0.0010000000000000002"));
    assert_true(beam_config_hash(&a, 1) == beam_config_hash(&same, 1));
    static const char *const keys[] = {
        "mask.form=soft",       "mask.temperature=2",    "mask.temperature_end=2",
        "mask.penalty_norm=l2", "mask.union_penalty=2",  "mask.union_batch=2",
        "mask.protect=1:0",     "mask.protect=1:2",      "mask.token_features=false",
        "distill.weight=1",     "distill.temperature=2", "trainable=masks+router",
        "num_experts_per_tok=2"};
    enum { KEYS = sizeof keys / sizeof *keys };
    uint64_t hash[KEYS + 1] = {[KEYS] = beam_config_hash(&a, 1)};
    for (int i = 0; i < KEYS; i++) {
        const beam_config c = loaded(NEEDED, SAYING(keys[i]));
        hash[i] = beam_config_hash(&c, 1);
        for (int j = 0; j <= KEYS; j++)
            assert_true(j == i || (j > i && j < KEYS) || hash[i] != hash[j]);
    }
    assert_true(beam_config_hash(&a, 1) != beam_config_hash(&seed, 1));
    assert_true(beam_config_hash(&a, 1) != beam_config_hash(&rate, 1));
}

/* Ranks times micro-batches of each is what counts. */
static void test_hash_of_ranks(void **state)
{
    (void)state;
    const beam_config one = loaded(NEEDED, NULL),
                      two = loaded(NEEDED, SAYING("gradient_accumulation_steps=2")),
                      four = loaded(NEEDED, SAYING("gradient_accumulation_steps=4"));
    assert_true(beam_config_hash(&one, 4) == beam_config_hash(&four, 1));
    assert_true(beam_config_hash(&two, 2) == beam_config_hash(&four, 1));
    assert_true(beam_config_hash(&two, 4) != beam_config_hash(&four, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values_of_every_kind),
        cmocka_unit_test(test_windows_line_ends_and_byte_order_mark),
        cmocka_unit_test(test_names_of_other_tools),
        cmocka_unit_test(test_command_line_wins),
        cmocka_unit_test(test_target_replaces_the_default_penalty),
        cmocka_unit_test(test_hash_sees_numbers_only),
        cmocka_unit_test(test_hash_of_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
