/* Text, token ids, questions and results: lines of JSON, and compressed text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/scratch.h"
#include "hostile/refused.h"

enum { DATA = 3 };

typedef struct {
    const char *name, *head, *part;
    size_t times;
    const char *tail, *message;
} line_case;

static const char *write_case(const line_case *c)
{
    char *text = repeat(c->head, c->part, c->times, c->tail);
    const char *path = scratch_text(c->name, text);
    free(text);
    return path;
}

static void text_rows(void **state)
{
    (void)state;
    static const line_case cases[] = {
        {"objects.jsonl", "{\"text\":\"a\",\"b\":[", "{},", 5000000, "{}]}\n", "too many values"},
        {"deep.jsonl", "{\"text\":\"a\",\"b\":", "[", 5000000, "\n", "nested too deep"},
        {"levels.jsonl", "{\"text\":\"a\",\"b\":", "{\"b\":", 3000000, "\n", "nested too deep"},
        {"line.jsonl", "{\"text\":\"", "xxxxxxxx", 4000000, "\"}\n", "longer than 16 MiB"},
        {"utf8.jsonl", "{\"text\":\"\xc0\xaf\"}\n", "", 0, "", "not JSON"},
        {"surrogate.jsonl", "{\"text\":\"\\ud800\"}\n", "", 0, "", "not JSON"},
        {"surrogates.jsonl", "{\"text\":\"\\udc00\\ud800\"}\n", "", 0, "", "not JSON"},
        {"number.jsonl", "{\"text\":1}\n", "", 0, "", "is not a string"},
        {"list.jsonl", "[\"text\"]\n", "", 0, "", "not a JSON object"},
        {"keys.jsonl", "{\"text\":\"a\",\"text\":\"b\"}\n", "", 0, "", "duplicate"},
        {"exponent.jsonl", "{\"text\":\"a\",\"b\":1e999999}\n", "", 0, "", "not JSON"},
        {"escape.jsonl", "\x1b[2J\n", "", 0, "", "not JSON"},
        {"utf8.txt", "\xf5\x80\x80\x80\n", "", 0, "", "not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_exit(DATA, cases[i].name, cases[i].message, "preprocess", write_case(&cases[i]), "--out",
                    scratch_path("out.h5"), NULL);
    expect_exit(DATA, "sparse.jsonl", "longer than 16 MiB", "preprocess",
                write_sparse("sparse.jsonl", (uint64_t)1 << 29), "--out", scratch_path("out.h5"), NULL);
    expect_exit(DATA, "nul.jsonl", "not JSON", "preprocess", scratch_write("nul.jsonl", "{\0}\n", 4), "--out",
                scratch_path("out.h5"), NULL);
    assert_false(beam_file_exists(scratch_path("out.h5")));
}

/* What looks like a special token is text: the end of the document is the only one in the file. */
static void special_tokens(void **state)
{
    (void)state;
    const char *path = scratch_text("special.jsonl", "{\"text\":\"<|eos|><|im_end|>\\u0000\"}\n");
    expect_exit(0, "special.h5", "1 documents, 19 tokens", "preprocess", path, "--out",
                scratch_path("special.h5"), NULL);
}

/* The longest line that is accepted. */
static void longest_line(void **state)
{
    (void)state;
    static const line_case line = {"longest.jsonl", "{\"text\":\"", "xxxxxxxx", 2097150, "\"}\n", ""};
    expect_exit(0, "longest.h5", "1 documents, 16777201 tokens", "preprocess", write_case(&line), "--out",
                scratch_path("longest.h5"), NULL);
}

/* A frame of `size` zero bytes. */
static void write_frame(const char *name, size_t size, int window, size_t cut)
{
    char *zeros = calloc(1, size);
    const size_t bound = ZSTD_compressBound(size);
    char *frame = malloc(bound);
    ZSTD_CCtx *context = ZSTD_createCCtx();
    assert_true(zeros && frame && context);
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window);
    const size_t n = ZSTD_compress2(context, frame, bound, zeros, size);
    assert_false(ZSTD_isError(n));
    scratch_write(name, frame, n - cut);
    ZSTD_freeCCtx(context);
    free(frame);
    free(zeros);
}

static void compressed_text(void **state)
{
    (void)state;
    static const struct {
        const char *name, *message;
        size_t size;
        int window;
        size_t cut;
    } cases[] = {
        {"bomb.jsonl.zst", "longer than 16 MiB", (size_t)1 << 26, 20, 0},
        {"cut.jsonl.zst", "ends in the middle", (size_t)1 << 20, 20, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_frame(cases[i].name, cases[i].size, cases[i].window, cases[i].cut);
        expect_exit(DATA, cases[i].name, cases[i].message, "preprocess", scratch_path(cases[i].name), "--out",
                    scratch_path("out.h5"), NULL);
    }
    /* Magic, then a frame header that asks for a window of 2 GiB. */
    expect_exit(DATA, "window.txt.zst", "damaged", "preprocess",
                scratch_write("window.txt.zst", "\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", 9), "--out",
                scratch_path("out.h5"), NULL);
    expect_exit(DATA, "text.txt.zst", "damaged", "preprocess", scratch_text("text.txt.zst", "not compressed"),
                "--out", scratch_path("out.h5"), NULL);
}

static void id_lines(void **state)
{
    (void)state;
    static const line_case cases[] = {
        {"line-ids.jsonl", "{\"ids\":[", "1,", 20000000, "1]}\n", "the line has more than"},
        {"many-ids.jsonl", "{\"ids\":[", "1,", 5000000, "1]}\n", "too many values"},
        {"deep-ids.jsonl", "{\"ids\":", "[", 1000000, "\n", "nested too deep"},
        {"large-id.jsonl", "{\"ids\":[36]}\n", "", 0, "", "is not an integer from 0 to 35"},
        {"negative-id.jsonl", "{\"ids\":[-1]}\n", "", 0, "", "is not an integer"},
        {"wrapped-id.jsonl", "{\"ids\":[4294967296]}\n", "", 0, "", "is not an integer"},
        {"real-id.jsonl", "{\"ids\":[1.0]}\n", "", 0, "", "is not an integer"},
        {"no-ids.jsonl", "{\"ids\":[]}\n", "", 0, "", "at least one"},
        {"object-ids.jsonl", "{\"ids\":{\"0\":1}}\n", "", 0, "", "at least one"},
        {"loss.jsonl", "{\"ids\":[1,2],\"loss\":[1]}\n", "", 0, "", "as many entries"},
        {"positions.jsonl", "{\"ids\":[", "1,", 64, "1]}\n", "positions"},
        {"blank.jsonl", "", "\n", 1000000, "", "holds no line"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_exit(DATA, cases[i].name, cases[i].message, "score", "--model", HOSTILE_MODEL, "--input",
                    write_case(&cases[i]), NULL);
    expect_exit(DATA, "zero.jsonl", "the line has more than", "score", "--model", HOSTILE_MODEL, "--input",
                write_sparse("zero.jsonl", (uint64_t)1 << 29), NULL);
    expect_exit(DATA, "nul-ids.jsonl", "not valid JSON", "generate", "--model", HOSTILE_MODEL, "--input",
                scratch_write("nul-ids.jsonl", "\0{\"ids\":[1]}\n", 13), NULL);
}

static void results(void **state)
{
    (void)state;
    static const line_case cases[] = {
        {"eval.json", "{\"loss\":1,\"accuracy\":2,\"avg_active\":1,\"top_k\":1}", "", 0, "", "accuracy"},
        {"eval-nan.json", "{\"loss\":NaN}", "", 0, "", "not valid JSON"},
        {"eval-bomb.json", "{\"loss\":[", "{},", 5000000, "{}]}", "too many values"},
        {"eval-load.json", "{\"loss\":1,\"accuracy\":1,\"avg_active\":1,\"top_k\":1,\"expert_load\":[", "[],",
         2000, "[1]]}", "expert_load"},
        {"scores-bomb.json", "{\"results\":{\"t\":{\"acc,none\":[", "{},", 5000000, "{}]}}}",
         "too many values"},
        {"scores-group.json", "{\"results\":{\"t\":{\"acc,none\":1}},\"group_subtasks\":{\"t\":[", "\"\",",
         500000, "1e999]}}", "not valid JSON"},
        {"scores-escape.json", "{\"results\":{\"\\u001b[2J\":{\"\\u001b[2J,\":1}}}", "", 0, "",
         "have 1 to 63"},
        {"eval-escape.json", "{\"\\u001b[2J\":1}", "", 0, "", "not an evaluation"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_exit(DATA, cases[i].name, cases[i].message, "report", write_case(&cases[i]), NULL);
    assert_int_equal(beam_make_folder(scratch_path("run")), BEAM_OK);
    static const line_case metrics[] = {
        {"run/metrics.jsonl", "", "\n", 3000000, "", "no step in it"},
        {"run/metrics.jsonl", "{\"step\":1,\"loss\":1,\"active\":[", "1,", 2000, "1]}\n",
         "more than 1024 layers"},
        {"run/metrics.jsonl", "", "{\"step\":1,\"loss\":1}\n", 2, "", "comes after step"},
        {"run/metrics.jsonl", "{\"step\":1e300,\"loss\":1}\n", "", 0, "", "step"},
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        write_case(&metrics[i]);
        expect_exit(DATA, "metrics.jsonl", metrics[i].message, "report", scratch_path("run"), NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_rows),       cmocka_unit_test(longest_line), cmocka_unit_test(special_tokens),
        cmocka_unit_test(compressed_text), cmocka_unit_test(id_lines),     cmocka_unit_test(results),
    };
    const int failed = cmocka_run_group_tests(tests, scratch_open, scratch_close);
    print_worst();
    return failed;
}
