/* What is refused, and what the message says: file, line, column, what was wrong, what to do. */
#include "config_file.h"

typedef struct {
    const char *text;     /* after NEEDED, so its first line is line 3 */
    const char *override; /* or NULL */
    const char *says;     /* part of the message */
} refusal;

static const refusal refusals[] = {
    {"maks:\n  penalty: 1\n", NULL,
     "run.yaml:4:3: unknown key \"maks.penalty\"; did you mean \"mask.penalty\"?"},
    {"maks.penalty: 1\n", NULL, "run.yaml:3:1: unknown key \"maks.penalty\"; did you mean \"mask.penalty\"?"},
    {"penalty: 1\n", NULL, "did you mean \"mask.penalty\"?"},
    {"learnin_rate: 1\n", NULL, "did you mean \"learning_rate\"?"},
    {"colour: red\n", NULL,
     "run.yaml:3:1: unknown key \"colour\"; `beam validate --reference` lists all keys"},
    {"maks: {}\n", NULL, "run.yaml:3:1: unknown key \"maks\""},
    {"seed: 1\n\nseed: 1\n", NULL, "run.yaml:5:1: duplicate key \"seed\", already given at"},
    {"lr: 1\nlearning_rate: 1\n", NULL, "run.yaml:4:1: duplicate key \"learning_rate\""},
    {"mask.penalty: 1\nmask: {penalty: 1}\n", NULL, "duplicate key \"mask.penalty\""},
    {"mask: {penalty: 1}\nmask: {init: zero}\n", NULL, "run.yaml:4:7: duplicate section \"mask\""},
    {"seed: abc\n", NULL, "run.yaml:3:7: seed must be a whole number >= 0, not \"abc\""},
    {"seed: 1.5\n", NULL, "seed must be a whole number"},
    {"seed: -1\n", NULL, "seed must be a whole number >= 0"},
    {"seed: 9223372036854775808\n", NULL, "seed must be a whole number"},
    {"learning_rate: fast\n", NULL, "learning_rate must be a number >= 0, not \"fast\""},
    {"learning_rate: .nan\n", NULL, "learning_rate must be"},
    {"learning_rate: nan\n", NULL, "learning_rate must be"},
    {"learning_rate: inf\n", NULL, "learning_rate must be"},
    {"learning_rate: 1e999\n", NULL, "learning_rate must be"},
    {"adam_beta1: 1\n", NULL, "adam_beta1 must be a number >= 0 and < 1, not \"1\""},
    {"mask: {threshold: 0}\n", NULL, "mask.threshold must be a number > 0 and < 1"},
    {"mask: {target_active: 0}\n", NULL, "mask.target_active must be a number > 0"},
    {"save_total_limit: 1\n", NULL, "save_total_limit must be a whole number >= 2"},
    {"packing: 1\n", NULL, "run.yaml:3:10: packing must be true or false, not \"1\""},
    {"lr_scheduler_type: cos\n", NULL, "must be one of constant, linear, cosine, not \"cos\""},
    {"trainable: masks all\n", NULL, "trainable must be one of masks, masks+router, all"},
    {"base_model model: m\n", NULL, "unknown key \"base_model model\""},
    {"seed: [1]\n", NULL, "run.yaml:3:7: seed takes one value, not a list"},
    {"seed: {a: 1}\n", NULL, "run.yaml:3:7: seed takes one value, not a section"},
    {"mask: {init: {a: 1}}\n", NULL, "mask.init takes one value, not a section"},
    {"mask: {a: {b: {c: 1}}}\n", NULL, "unknown key \"mask.a\""},
    {"mask: 3\n", NULL, "run.yaml:3:7: mask is a section"},
    {"seed: &here 1\n", NULL, "aliases and anchors"},
    {"seed: *here\n", NULL, "aliases and anchors"},
    {"seed: !!int 1\n", NULL, "tags"},
    {"seed: 'a\n", NULL, "run.yaml:3:"},
    {"? [a]\n: 1\n", NULL, "found a list"},
    {"? {a: 1}\n: 1\n", NULL, "found a mapping"},
    {"seed: 1\n---\nseed: 2\n", NULL, "a second YAML document"},
    {"seed: \"1\\0\"\n", NULL, "zero byte"},
    {"\xff\xfe: 1\n", NULL, ":3: not UTF-8"},
    {"mask: {penalty: 1, target_active: 2}\n", NULL,
     "mask.target_active cannot be combined with mask.penalty"},
    {"mask: {penalty: 1}\n", "mask.target_active=2", "command line: mask.target_active cannot be combined"},
    {"mask: {mode: off}\n", NULL, "there are no masks to train"},
    {"mask: {mode: off}\ntrainable: masks+router\n", NULL, "there are no masks to train"},
    {"null_experts: 4\ntrainable: all\n", NULL, ":3: null_experts is for a model without masks"},
    {"null_experts: 4\nmask: {mode: off}\n", NULL, "but trainable is masks (default)"},
    {"expert_parallel: 2\ntrainable: all\n", NULL,
     ":3: expert_parallel above 1 leaves experts as they are, but trainable is all"},
    {"base_lr_ratio: 0.1\n", NULL, ":3: base_lr_ratio is for a base model that trains"},
    {"base_lr_ratio: -1\ntrainable: all\n", NULL, "base_lr_ratio must be"},
    {"expert_parallel: 0\n", NULL, "expert_parallel must be"},
    {"null_experts: -1\n", NULL, "null_experts must be"},
    {"distill: {weight: 0.5}\ntrainable: all\n", NULL,
     "distill.weight needs trainable: masks, or masks+router"},
    {"distill: {weight: 0.5}\ntrainable: masks+router\nnull_experts: 4\nmask: {mode: off}\n", NULL,
     "distill.weight needs masks"},
    {"distill: {weight: 1.5}\n", NULL, "distill.weight must be a number >= 0 and <= 1"},
    {"mask: {temperature: 0}\n", NULL, "mask.temperature must be a number >= 0.001 and <= 100"},
    {"mask: {temperature_end: 200}\n", NULL, "mask.temperature_end must be a number >= 0.001 and <= 100"},
    {"distill: {temperature: 1e-30}\n", NULL, "distill.temperature must be a number >= 0.001"},
    {"mask: {union_batch: 0}\n", NULL, "mask.union_batch must be a whole number >= 1"},
    {"num_train_epochs: 0\n", NULL, "set one of them"},
    {"eval_steps: 5\n", NULL, "eval_steps needs eval_dataset"},
    {"dataset2: d\n", NULL, "did you mean \"dataset\"?"},
    {"", "sed=1", "command line: unknown key \"sed\"; did you mean \"seed\"?"},
    {"", "--learning_rat=1", "command line: unknown key \"learning_rat\""},
    {"", "seed", "command line: expected key=value, found \"seed\""},
    {"", "--seed", "command line: --seed has no value"},
    {"", "=1", "command line: unknown key \"\""},
    {"", "dataset=", "dataset is missing"},
};

static void refused(const char *bytes, size_t size, const char *override, const char *says)
{
    beam_config c;
    char **origins = (char **)&c; /* must be replaced */
    const char *overrides[] = {override, NULL};
    const beam_status s = load_bytes(bytes, size, &c, &origins, overrides);
    if (s != BEAM_ECONFIG || !strstr(beam_last_error(), says))
        fail_msg("status %d, message \"%s\" lacks \"%s\"", (int)s, s == BEAM_OK ? "" : beam_last_error(),
                 says);
    assert_null(origins);
}

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const refusal *r = &refusals[i];
        char text[512], override[64] = "";
        snprintf(text, sizeof text, "%s%s", NEEDED, r->text);
        snprintf(override, sizeof override, "%s", r->override ? r->override : "");
        refused(text, strlen(text), r->override ? override : NULL, r->says);
    }
}

static void test_whole_files(void **state)
{
    (void)state;
    refused("", 0, NULL, "model_name_or_path is missing");
    refused("# nothing\n", 10, NULL, "model_name_or_path is missing");
    refused("hello", 5, NULL, "run.yaml:1:1: expected lines of the form `key: value`");
    refused("- a\n", 4, NULL, "found a list");
    refused(NEEDED "seed: 1\0002\n", sizeof(NEEDED "seed: 1\0002\n") - 1, NULL, "zero byte");
    refused("dataset: d\n", 11, NULL, "model_name_or_path is missing; add a line `model_name_or_path: PATH`");
}

static void test_long_texts(void **state)
{
    (void)state;
    char text[4096];
    const int used = snprintf(text, sizeof text, "%soutput_dir: ", NEEDED);
    memset(text + used, 'a', BEAM_PATH_MAX);
    text[used + BEAM_PATH_MAX] = '\n';
    refused(text, (size_t)used + BEAM_PATH_MAX + 1, NULL, "longer than 1023 bytes");
    beam_config c;
    assert_int_equal(load_bytes(text, (size_t)used + BEAM_PATH_MAX - 1, &c, NULL, NULL), BEAM_OK);
    assert_int_equal(strlen(c.output_dir), BEAM_PATH_MAX - 1);
    memset(text, 'k', 2000);
    refused(text, 2000, NULL, "run.yaml:1:");
}

/* Neither size nor nesting of the file may cost memory or time. */
static void test_hostile_files(void **state)
{
    (void)state;
    const size_t size = 3000000;
    char *bytes = malloc(size);
    assert_non_null(bytes);
    memset(bytes, '#', size);
    refused(bytes, size, NULL, "at most 1048576");
    memset(bytes, '[', size);
    refused(bytes, 1000000, NULL, "found a list");
    for (size_t i = 0; i < size; i += 3)
        memcpy(bytes + i, "a: ", 3);
    refused(bytes, 999999, NULL, "run.yaml:1:");
    free(bytes);
}

static void test_missing_file(void **state)
{
    (void)state;
    beam_config c;
    assert_int_equal(beam_config_load("/nonexistent/run.yaml", NULL, 0, &c, NULL), BEAM_ECONFIG);
    assert_non_null(strstr(beam_last_error(), "/nonexistent/run.yaml"));
    assert_int_equal(beam_config_load("/tmp", NULL, 0, &c, NULL), BEAM_ECONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_whole_files),
        cmocka_unit_test(test_long_texts),   cmocka_unit_test(test_hostile_files),
        cmocka_unit_test(test_missing_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
