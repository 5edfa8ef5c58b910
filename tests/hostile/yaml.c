/* Configurations: what beam validate says of them. */
#include <stdlib.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/scratch.h"
#include "hostile/refused.h"

enum { CONFIG = 2 };

typedef struct {
    const char *name, *head, *part;
    size_t times;
    const char *tail, *message;
} yaml_case;

static void refused(const yaml_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *text = repeat(cases[i].head, cases[i].part, cases[i].times, cases[i].tail);
        const char *path = scratch_text(cases[i].name, text);
        free(text);
        expect_exit(CONFIG, cases[i].name, cases[i].message, "validate", path, NULL);
    }
}

static void bombs(void **state)
{
    (void)state;
    static const yaml_case cases[] = {
        {"aliases.yaml", "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n", "d: [*c,*c]\n", 20, "", "aliases"},
        {"alias-value.yaml", "seed: &a 1\n", "max_steps: *a\n", 1, "", "aliases"},
        {"merge.yaml", "mask: &m {mode: off}\n<<: *m\n", "", 0, "", "aliases"},
        {"brackets.yaml", "", "[", 200000, "", "found a list"},
        {"value-brackets.yaml", "seed: ", "[", 200000, "", "not a list"},
        {"braces.yaml", "", "{", 200000, "", "expected a key"},
        {"nested.yaml", "", "{a: ", 200000, "", "unknown key"},
        {"indented.yaml", "mask:\n  mode:\n", "    a:\n", 50000, "", "takes one value"},
        {"explicit.yaml", "", "? ", 200000, "", "expected a key"},
        {"dashes.yaml", "", "- ", 200000, "", "found a list"},
        {"scalar.yaml", "model_name_or_path: ", "xxxxxxxx", 120000, "\n", "longer than"},
        {"long-key.yaml", "", "xxxxxxxx", 120000, ": 1\n", ""},
        {"block.yaml", "model_name_or_path: |\n", "  xxxxxxxx\n", 90000, "", "longer than"},
        {"quoted.yaml", "model_name_or_path: \"", "\\x41", 200000, "\"\n", "longer than"},
        {"unclosed.yaml", "model_name_or_path: \"", "x", 1000, "", "not valid YAML"},
        {"keys.yaml", "", "seed: 1\n", 100000, "", "duplicate key"},
        {"comments.yaml", "", "#\n", 500000, "", "is missing"},
        {"documents.yaml", "", "---\nseed: 1\n", 1000, "", "second YAML document"},
        {"large.yaml", "", "# xxxxxxxxxxxxxxxx\n", 100000, "", "at most 1048576 are accepted"},
    };
    refused(cases, sizeof cases / sizeof *cases);
}

static void constructs(void **state)
{
    (void)state;
    static const yaml_case cases[] = {
        {"tag.yaml", "seed: !!python/object/apply:os.system [ls]\n", "", 0, "", "tags"},
        {"tag-key.yaml", "!!str seed: 1\n", "", 0, "", "tags"},
        {"directive.yaml", "%TAG ! tag:evil.org,2026:\n---\nseed: !x 1\n", "", 0, "", "tags"},
        {"duplicate.yaml", "seed: 1\nseed: 2\n", "", 0, "", "duplicate key"},
        {"section-twice.yaml", "mask:\n  mode: off\nmask:\n  mode: on\n", "", 0, "", "duplicate section"},
        {"section-list.yaml", "mask: [mode]\n", "", 0, "", "not a list"},
        {"section-value.yaml", "mask: yes\n", "", 0, "", "is a section"},
        {"tab.yaml", "mask:\n\tmode: off\n", "", 0, "", "not valid YAML"},
        {"utf8.yaml", "seed: 1\nseed: \xff\xfe\n", "", 0, "", "utf8.yaml:2: not UTF-8"},
        {"utf8-directive.yaml", "% a: \xff\n", "", 0, "", "not UTF-8"}, /* libfyaml would never return */
        {"utf16.yaml",
         "\xff\xfe"
         "s",
         "", 0, "", "not UTF-8"},
        {"escape.yaml", "\x1b[2J: 1\n", "", 0, "", ""},
        {"escaped.yaml", "\"\\e[2J\": 1\n", "", 0, "", "unknown key"},
        {"nul-escape.yaml", "\"seed\\0\": 1\n", "", 0, "", "zero byte"},
        {"overflow.yaml", "seed: 99999999999999999999\n", "", 0, "", "seed must be"},
        {"infinite.yaml", "learning_rate: .inf\n", "", 0, "", "learning_rate must be"},
        {"inf.yaml", "learning_rate: inf\n", "", 0, "", "learning_rate must be"},
        {"nan.yaml", "learning_rate: nan\n", "", 0, "", "learning_rate must be"},
        {"hex.yaml", "max_steps: 0x10\n", "", 0, "", "max_steps must be"},
        {"negative.yaml", "max_steps: -1\n", "", 0, "", "max_steps must be"},
        {"text.yaml", "rm -rf /\n", "", 0, "", "key: value"},
    };
    refused(cases, sizeof cases / sizeof *cases);
    expect_exit(CONFIG, "nul.yaml", "zero byte", "validate", scratch_write("nul.yaml", "seed\0: 1\n", 9),
                NULL);
    expect_exit(CONFIG, "/dev/zero", "not a regular file", "validate", "/dev/zero", NULL);
    expect_exit(CONFIG, "sparse.yaml", "at most 1048576", "validate",
                write_sparse("sparse.yaml", (uint64_t)1 << 40), NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bombs), cmocka_unit_test(constructs)};
    const int failed = cmocka_run_group_tests(tests, scratch_open, scratch_close);
    print_worst();
    return failed;
}
