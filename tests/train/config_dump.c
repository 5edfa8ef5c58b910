/* The resolved configuration: it loads back to itself, and says where every value came from. */
#include "config_file.h"

typedef void print_with(const beam_config *c, char *const origins[], FILE *to);

static char *printed(print_with *print, const beam_config *c, char *const origins[])
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    assert_non_null(to);
    print(c, origins, to);
    assert_int_equal(fclose(to), 0);
    return text;
}

static void loads_back(const char *text)
{
    beam_config c, again;
    char **origins;
    assert_int_equal(load(text, &c, &origins, NULL), BEAM_OK);
    char *plain = printed(beam_config_dump, &c, NULL), *commented = printed(beam_config_dump, &c, origins);
    assert_int_equal(load(plain, &again, NULL, NULL), BEAM_OK);
    char *second = printed(beam_config_dump, &again, NULL);
    assert_string_equal(plain, second);
    assert_true(beam_config_hash(&c, 1) == beam_config_hash(&again, 1));
    free(second);
    if (load(commented, &again, NULL, NULL) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    second = printed(beam_config_dump, &again, NULL);
    assert_string_equal(plain, second);
    free(plain);
    free(commented);
    free(second);
    beam_config_free_origins(origins);
}

static void test_loads_back(void **state)
{
    (void)state;
    loads_back(NEEDED);
    loads_back(NEEDED "mask: {target_active: 1.1}\ntrainable: all\nbackend: cpu\npacking: false\n");
    loads_back(NEEDED
               "mask: {mode: off}\ntrainable: all\neval_dataset: \"a # b: 'c' \\\"d\\\" \\\\ \\x01\\n\"\n");
    loads_back(NEEDED "output_dir: ~x\nresume_from_checkpoint: 'null'\nseed: 9223372036854775807\n");
}

static void test_numbers_keep_every_bit(void **state)
{
    (void)state;
    const double numbers[] = {0.1, 1.0 / 3, 1e-3, 5e-324, 2.2250738585072014e-308, 0.30000000000000004, 1e22};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        beam_config c, again;
        char text[256];
        snprintf(text, sizeof text, "%slearning_rate: %.17g\n", NEEDED, numbers[i]);
        assert_int_equal(load(text, &c, NULL, NULL), BEAM_OK);
        assert_true(c.learning_rate == numbers[i]);
        char *dump = printed(beam_config_dump, &c, NULL);
        assert_int_equal(load(dump, &again, NULL, NULL), BEAM_OK);
        assert_true(again.learning_rate == numbers[i]);
        free(dump);
    }
}

/* Whether some line of the text holds both. */
static bool line_has(const char *text, const char *a, const char *b)
{
    for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        const char *end = strchr(line, '\n');
        const char *pa = strstr(line, a), *pb = strstr(line, b);
        if (pa && pb && (!end || (pa < end && pb < end)))
            return true;
    }
    return false;
}

static void test_origins(void **state)
{
    (void)state;
    beam_config c;
    char **origins;
    const char *overrides[] = {"seed=7", NULL};
    assert_int_equal(load(NEEDED "mask:\n  penalty: 0.5\n", &c, &origins, overrides), BEAM_OK);
    char *text = printed(beam_config_dump, &c, origins);
    assert_true(line_has(text, "penalty: 0.5", "run.yaml:4"));
    assert_true(line_has(text, "seed: 7", "# command line"));
    assert_true(line_has(text, "cutoff_len: 2048", "# default"));
    assert_false(line_has(text, "cutoff_len: 2048", "run.yaml"));
    free(text);
    text = printed(beam_config_dump_json, &c, origins);
    assert_non_null(strstr(text, "\"mask\": {\"mode\": \"on\""));
    assert_non_null(strstr(text, "\"seed\": \"command line\""));
    assert_non_null(strstr(text, "\"target_active\": null"));
    free(text);
    beam_config_free_origins(origins);
    beam_config_free_origins(NULL);
}

static void print_reference(const beam_config *c, char *const origins[], FILE *to)
{
    (void)c;
    (void)origins;
    beam_config_reference(to);
}

static void test_reference(void **state)
{
    (void)state;
    char *text = printed(print_reference, NULL, NULL);
    assert_true(line_has(text, "`mask.threshold`", "a number > 0 and < 1"));
    assert_true(line_has(text, "`learning_rate`", "Also accepted: `lr`."));
    assert_true(line_has(text, "`dataset`", "required"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loads_back),
        cmocka_unit_test(test_numbers_keep_every_bit),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
