/* Model folders: config.json, the index of shards, and what else lies in them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/scratch.h"
#include "hostile/refused.h"

enum { MODEL = 4 };

static char *config_text; /* of a model that is accepted */

static int set_up(void **state)
{
    size_t size;
    config_text = scratch_read(HOSTILE_MODEL "/config.json", &size);
    return scratch_open(state);
}

static int tear_down(void **state)
{
    free(config_text);
    return scratch_close(state);
}

/* config.json with the line of `key` (one of the two must be in it) replaced, or before it a new one. */
static void write_config(const char *path, const char *key, const char *value)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *line = strstr(config_text, quoted), *rest = line ? strchr(line, '\n') + 1 : NULL;
    if (!line)
        rest = line = strchr(config_text, '\n') + 1;
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%.*s%s %s,\n%s", (int)(line - config_text), config_text, quoted, value, rest);
    assert_int_equal(fclose(f), 0);
}

static void config_values(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *message;
    } cases[] = {
        {"num_hidden_layers", "2147483648", "num_hidden_layers"},
        {"num_hidden_layers", "0", "num_hidden_layers"},
        {"num_hidden_layers", "-1", "num_hidden_layers"},
        {"num_hidden_layers", "1e400", "not valid JSON"},
        {"num_hidden_layers", "18446744073709551616", "not valid JSON"},
        {"num_hidden_layers", "\"2\"", "num_hidden_layers"},
        {"num_hidden_layers", "null", "num_hidden_layers"},
        {"hidden_size", "9223372036854775807", "hidden_size"},
        {"hidden_size", "[24]", "hidden_size"},
        {"hidden_size", "NaN", "not valid JSON"},
        {"num_experts", "1000000000", "num_experts"},
        {"num_experts_per_tok", "6", "larger than the number of experts"},
        {"num_attention_heads", "5", "num_attention_heads"},
        {"intermediate_size", "99999999999", "intermediate_size"},
        {"max_position_embeddings", "1.5", "max_position_embeddings"},
        {"rms_norm_eps", "-1", "rms_norm_eps"},
        {"rope_parameters", "{\"evil\": 1", "evil"}, /* the first of its lines: the others follow */
        {"rope_parameters", "{\"rope_theta\": 1", "duplicate"},
        {"model_type", "\"\\u001b[31mqwen\"", "model_type"},
        {"model_type", "{}", "model_type"},
        {"architectures", "[\"A\"", "architectures"},
        {"expert_mask", "{\"version\": 1, \"threshold\": 2}", "architectures"},
        {"expert_mask", "[1]", "expert_mask"},
        {"no_such_key", "1", "no_such_key"},
    };
    char file[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(file, sizeof file, "config-%zu.json", i);
        write_config(scratch_path(file), cases[i].key, cases[i].value);
        expect_exit(MODEL, file, cases[i].message, "inspect", scratch_path(file), NULL);
    }
}

static void configs(void **state)
{
    (void)state;
    static const struct {
        const char *name, *head, *part;
        size_t times;
        const char *tail, *message;
        int code;
    } cases[] = {
        {"large.json", "{\"a\":\"", "xxxxxxxx", 200000, "\"}", "at most 1048576 are accepted", 5},
        {"deep.json", "{\"a\":", "[", 500000, "", "nested too deep", MODEL},
        {"objects.json", "{\"a\":[", "{},", 340000, "{}]}", "too many values", MODEL},
        {"keys-twice.json", "{", "\"model_type\":\"olmoe\",", 1, "\"model_type\":\"olmoe\"}", "duplicate",
         MODEL},
        {"empty.json", "", "", 0, "", "not valid JSON", MODEL},
        {"text.json", "[1]", "", 0, "", "a JSON object", MODEL},
        {"utf8.json", "{\"\xed\xa0\x80\":1}", "", 0, "", "not valid JSON", MODEL},
        {"escape.json", "{\"model_type\":\"\x1b[2J\"}", "", 0, "", "not valid JSON", MODEL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = repeat(cases[i].head, cases[i].part, cases[i].times, cases[i].tail);
        const char *path = scratch_text(cases[i].name, text);
        free(text);
        expect_exit(cases[i].code, cases[i].name, cases[i].message, "inspect", path, NULL);
    }
}

/* The largest model that the ranges allow is counted, and refused before anything of its size is allocated.
 */
static void absurd_sizes(void **state)
{
    (void)state;
    static const char text[] =
        "{\"model_type\":\"olmoe\",\"architectures\":[\"OlmoeForCausalLM\"],"
        "\"hidden_size\":16384,\"num_hidden_layers\":512,\"num_attention_heads\":128,"
        "\"num_key_value_heads\":128,\"intermediate_size\":1048576,\"num_experts\":4096,"
        "\"num_experts_per_tok\":4096,\"vocab_size\":1000000,\"rope_theta\":10000.0}";
    const char *config = scratch_text("absurd.json", text);
    char model[SCRATCH_PATH + 8];
    snprintf(model, sizeof model, "random:%s", config);
    scratch_text("ids.jsonl", "{\"ids\":[1,2]}\n");
    expect_exit(0, "absurd.json", "4096 of width 1048576", "inspect", config, NULL);
    expect_exit(2, "config.json", "more than any machine holds", "score", "--model", model, "--input",
                scratch_path("ids.jsonl"), NULL);
}

#define HEADER_A "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}"

static void write_shard(const char *name)
{
    char bytes[8 + sizeof HEADER_A - 1 + 4] = {sizeof HEADER_A - 1};
    memcpy(bytes + 8, HEADER_A, sizeof HEADER_A - 1);
    scratch_write(name, bytes, sizeof bytes);
}

static void make_folder(const char *name)
{
    char path[64];
    assert_int_equal(beam_make_folder(scratch_path(name)), BEAM_OK);
    snprintf(path, sizeof path, "%s/config.json", name);
    scratch_text(path, config_text);
}

static void indexes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"../outside.safetensors\"}}", "plain name"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "plain name"},
        {"{\"weight_map\":{\"a\":\"..%2foutside.safetensors\"}}", "plain name"},
        {"{\"weight_map\":{\"a\":\"sub/1.safetensors\"}}", "plain name"},
        {"{\"weight_map\":{\"a\":\"\\u001b[2J.safetensors\"}}", "plain name"},
        {"{\"weight_map\":{\"a\":\"1.bin\"}}", "plain name"},
        {"{\"weight_map\":{\"a\":[\"1.safetensors\"]}}", "plain name"},
        {"{\"weight_map\":{\"a\":\"link.safetensors\"}}", "symbolic link"},
        {"{\"weight_map\":{\"a\":\"pipe.safetensors\"}}", "not a regular file"},
        {"{\"weight_map\":{\"b\":\"1.safetensors\"}}", "weight_map says nothing"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"1.safetensors\"}}", "does not"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"a\":\"1.safetensors\"}}", "duplicate"},
        {"{\"weight_map\":[\"1.safetensors\"]}", "weight_map"},
        {"{\"weight_map\":{}}", "weight_map"},
        {"[]", "a JSON object"},
    };
    make_folder("index");
    write_shard("index/1.safetensors");
    write_shard("outside.safetensors");
    assert_int_equal(symlink("../outside.safetensors", scratch_path("index/link.safetensors")), 0);
    assert_int_equal(mkfifo(scratch_path("index/pipe.safetensors"), 0600), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scratch_text("index/model.safetensors.index.json", cases[i].text);
        expect_exit(MODEL, "/index/", cases[i].message, "inspect", scratch_path("index"), NULL);
    }
    scratch_text("index/model.safetensors.index.json", "{\"weight_map\":{\"a\":\"gone.safetensors\"}}");
    expect_exit(5, "gone.safetensors", "cannot open", "inspect", scratch_path("index"), NULL);
    char *text = repeat("{\"weight_map\":{\"a\":\"", "x", 34000000, "\"}}");
    scratch_text("index/model.safetensors.index.json", text);
    free(text);
    expect_exit(5, "model.safetensors.index.json", "are accepted", "inspect", scratch_path("index"), NULL);
}

static void links(void **state)
{
    (void)state;
    make_folder("linked");
    assert_int_equal(symlink("../outside.safetensors", scratch_path("linked/model.safetensors")), 0);
    expect_exit(MODEL, "model.safetensors", "symbolic link", "inspect", scratch_path("linked"), NULL);
    assert_int_equal(unlink(scratch_path("linked/model.safetensors")), 0);
    assert_int_equal(mkfifo(scratch_path("linked/model.safetensors"), 0600), 0);
    expect_exit(MODEL, "model.safetensors", "not a regular file", "score", "--model", scratch_path("linked"),
                "--input", scratch_text("ids.jsonl", "{\"ids\":[1,2]}\n"), NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_values), cmocka_unit_test(configs), cmocka_unit_test(absurd_sizes),
        cmocka_unit_test(indexes),       cmocka_unit_test(links),
    };
    const int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    print_worst();
    return failed;
}
