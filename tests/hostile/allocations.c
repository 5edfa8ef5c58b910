/* Every reader without memory: its k-th allocation fails, once or from then on, for the first 500 of them. It
 * says so (BEAM_ENOMEM), or it did not need that one; it never crashes, and under LeakSanitizer it leaks
 * nothing.
 *
 * The allocations are beam's own, which include one before Jansson parses, as large as it may need. Those
 * inside the libraries never fail here: Jansson and HDF5 are known not to bear it. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/ids.h"
#include "data/json.h"
#include "data/lm_eval.h"
#include "data/manifest.h"
#include "data/results.h"
#include "data/safetensors.h"
#include "data/scratch.h"
#include "data/text.h"
#include "data/tokens.h"
#include "hostile/refused.h"
#include "model/families/families.h"
#include "train/config.h"

enum { MOST = 500 };

static struct {
    long left; /* allocations that still succeed; -1: all */
    bool once;
    long seen;
    size_t last; /* size of the latest malloc */
} budget = {.left = -1};

/* The linker sends beam's calls here (--wrap). */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

static bool refused(void)
{
    budget.seen++;
    if (budget.left < 0)
        return false;
    if (budget.left > 0) {
        budget.left--;
        return false;
    }
    if (budget.once)
        budget.left = -1;
    return true;
}

void *__wrap_malloc(size_t n)
{
    budget.last = n;
    return refused() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return refused() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return refused() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
    return refused() ? NULL : __real_strdup(s);
}

/* One entry point, on a file that it accepts. */
typedef beam_status (*entry_point)(void);

static beam_status read_config(void)
{
    beam_model_config c;
    return beam_model_config_read(HOSTILE_MODEL "/config.json", &c);
}

static beam_status open_weights(void)
{
    beam_weights *w;
    const beam_status s = beam_weights_open(HOSTILE_MODEL, &w);
    if (s == BEAM_OK)
        beam_weights_close(w);
    return s;
}

static beam_status open_shards(void)
{
    beam_weights *w;
    const beam_status s = beam_weights_open(scratch_path("shards"), &w);
    if (s == BEAM_OK)
        beam_weights_close(w);
    return s;
}

static beam_status read_manifest(void)
{
    beam_manifest m;
    return beam_manifest_read(scratch_path("manifest"), &m);
}

static beam_status read_ids(void)
{
    beam_id_lines lines;
    const beam_status s = beam_ids_read(scratch_path("ids.jsonl"), 100, &lines);
    if (s == BEAM_OK)
        beam_ids_free(&lines);
    return s;
}

static beam_status read_questions(void)
{
    beam_questions q;
    const beam_status s = beam_questions_read(scratch_path("questions.jsonl"), &q);
    if (s == BEAM_OK)
        beam_questions_free(&q);
    return s;
}

static beam_status read_text(void)
{
    beam_text *t;
    const char *text;
    size_t size;
    BEAM_TRY(beam_text_open(scratch_path("text.jsonl"), &(beam_text_options){0}, &t));
    beam_status s;
    do
        s = beam_text_next(t, &text, &size);
    while (s == BEAM_OK && text);
    beam_text_close(t);
    return s;
}

static beam_status read_tokens(void)
{
    beam_tokens t;
    const beam_status s = beam_tokens_read(scratch_path("tokens.h5"), &t);
    if (s == BEAM_OK)
        beam_tokens_free(&t);
    return s;
}

static beam_status read_evaluation(void)
{
    beam_evaluation e;
    const beam_status s = beam_evaluation_read(scratch_path("eval.json"), &e);
    if (s == BEAM_OK)
        beam_evaluation_free(&e);
    return s;
}

static beam_status read_scores(void)
{
    beam_lm_eval e;
    const beam_status s = beam_lm_eval_read(scratch_path("scores.json"), &e);
    if (s == BEAM_OK)
        beam_lm_eval_free(&e);
    return s;
}

static beam_status read_history(void)
{
    beam_history h;
    const beam_status s = beam_history_read(scratch_path("run"), &h);
    if (s == BEAM_OK)
        beam_history_free(&h);
    return s;
}

static beam_status read_yaml(void)
{
    beam_config c;
    char **origins;
    const beam_status s = beam_config_load(scratch_path("run.yaml"), NULL, 0, &c, &origins);
    if (s == BEAM_OK)
        beam_config_free_origins(origins);
    return s;
}

/* Fails each allocation in turn. */
static void without_memory(const char *name, entry_point read, bool once)
{
    budget.left = -1;
    budget.seen = 0;
    assert_int_equal(read(), BEAM_OK);
    const long all = budget.seen;
    assert_true(all > 0);
    for (long k = 0; k < all && k < MOST; k++) {
        budget.left = k;
        budget.once = once;
        const beam_status s = read();
        budget.left = -1;
        if (s != BEAM_ENOMEM)
            print_message("%s: allocation %ld of %ld %s: status %d, %s\n", name, k, all, once ? "once" : "on",
                          (int)s, s ? beam_last_error() : "none");
        assert_int_equal(s, BEAM_ENOMEM);
        assert_true(beam_last_error()[0] != '\0');
    }
    assert_int_equal(read(), BEAM_OK);
    print_message("%-16s %ld allocations\n", name, all);
}

static const struct {
    const char *name;
    entry_point read;
} entry_points[] = {
    {"config.json", read_config},
    {"safetensors", open_weights},
    {"shards", open_shards},
    {"manifest", read_manifest},
    {"ids", read_ids},
    {"questions", read_questions},
    {"text", read_text},
    {"token file", read_tokens},
    {"evaluation", read_evaluation},
    {"scores", read_scores},
    {"metrics", read_history},
    {"configuration", read_yaml},
};

static void once(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof entry_points / sizeof *entry_points; i++)
        without_memory(entry_points[i].name, entry_points[i].read, true);
}

static void from_then_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof entry_points / sizeof *entry_points; i++)
        without_memory(entry_points[i].name, entry_points[i].read, false);
}

static size_t held, most_held; /* bytes that Jansson has */

static void *give(size_t n)
{
    void *p = __real_malloc(n);
    held += malloc_usable_size(p);
    most_held = held > most_held ? held : most_held;
    return p;
}

static void take_back(void *p)
{
    held -= malloc_usable_size(p);
    free(p);
}

/* What is asked for before Jansson parses is what it needs, or more. */
static void json_takes_what_was_asked_for(void **state)
{
    (void)state;
    static const struct {
        const char *head, *part, *tail;
    } shapes[] = {
        {"{\"a\":[", "{},", "{}]}"},
        {"{\"a\":[", "[],", "[]]}"},
        {"{\"a\":[", "1,", "1]}"},
        {"{\"a\":[", "1.5,", "1.5]}"},
        {"{\"a\":[", "null,", "null]}"},
        {"{\"a\":[", "\"\",", "\"\"]}"},
        {"{\"a\":[", "[1],", "[1]]}"},
        {"{\"a\":[", "{\"\":1},", "1]}"},
        {"{\"a\":\"", "x", "\"}"},
        {"{\"a\":\"", "\\u20ac", "\"}"},
        {"{\"", "x", "\":1}"},
        {"{\"a\":[", "\"abc\",", "1]}"},
        {"{\"a\":[", "{\"a\":{\"b\":[0,1]}},", "1]}"},
    };
    json_set_alloc_funcs(give, take_back);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t times = 1; times < 40000; times = times * 3 + 1) {
            json_t *root;
            char *text = repeat(shapes[i].head, shapes[i].part, times, shapes[i].tail);
            most_held = held;
            const size_t before = held;
            assert_int_equal(beam_json_parse("text", text, strlen(text), BEAM_EDATA, &root), BEAM_OK);
            if (most_held - before > budget.last)
                print_message("%s %zu times: %zu bytes, not %zu\n", shapes[i].part, times, most_held - before,
                              budget.last);
            assert_true(most_held - before <= budget.last);
            json_decref(root);
            free(text);
        }
    json_set_alloc_funcs(malloc, free);
}

static void write_shard(const char *path, const char *header)
{
    char bytes[128] = {(char)strlen(header)};
    memcpy(bytes + 8, header, strlen(header));
    scratch_write(path, bytes, 8 + strlen(header) + 4);
}

static int set_up(void **state)
{
    static const char questions[] =
        "{\"id\":\"q\",\"context\":\"c\",\"choices\":[\"a\",\"b\"],\"label\":0}\n";
    int32_t id[] = {1, 2, 3, 4};
    uint8_t loss[] = {1, 1, 1, 1};
    int64_t start[] = {0, 4};
    if (scratch_open(state) != 0)
        return -1;
    const beam_tokens t = {
        .tokens = 4, .documents = 1, .vocab = 9, .id = id, .loss = loss, .start = start, .tokenizer = "none"};
    beam_status s = beam_tokens_write(scratch_path("tokens.h5"), &t);
    s |= beam_make_folder(scratch_path("manifest")) | beam_make_folder(scratch_path("run"));
    s |= beam_make_folder(scratch_path("shards"));
    s |= beam_manifest_write(scratch_path("manifest"),
                             &(beam_manifest){.state = {.step = 7, .model = "base"}});
    write_shard("shards/1.safetensors", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}");
    write_shard("shards/2.safetensors", "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}");
    scratch_text("shards/model.safetensors.index.json",
                 "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}");
    scratch_text("ids.jsonl", "{\"ids\":[1,2,3]}\n{\"ids\":[4,5],\"loss\":[0,1]}\n");
    scratch_text("questions.jsonl", questions);
    scratch_text("text.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\",\"more\":[1,{}]}\n");
    scratch_text("eval.json", "{\"loss\":1,\"accuracy\":1,\"avg_active\":1,\"top_k\":1,\"expert_load\":[[1]],"
                              "\"sample\":{\"ids\":[1],\"kept\":[1]}}");
    scratch_text("scores.json", "{\"results\":{\"g\":{\"acc,none\":1},\"t\":{\"acc,none\":1}},"
                                "\"group_subtasks\":{\"g\":[\"t\"]}}");
    scratch_text("run/metrics.jsonl",
                 "{\"step\":1,\"loss\":1,\"active\":[1]}\n{\"step\":1,\"eval_loss\":1}\n");
    scratch_text("run.yaml", "model_name_or_path: m\ndataset: d\nmask:\n  protect: 1:2 3:4\n");
    return s == BEAM_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(once), cmocka_unit_test(from_then_on),
                                       cmocka_unit_test(json_takes_what_was_asked_for)};
    return cmocka_run_group_tests(tests, set_up, scratch_close);
}
