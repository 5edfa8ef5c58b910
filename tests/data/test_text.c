/* Reading documents: plain and JSON lines, compressed or not, and everything that can be wrong with them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "data/cmocka_all.h"
#include "data/scratch.h"
#include "data/text.h"

/* All documents of a file, each followed by a '|'; sets *s. */
static const char *read_all(const char *path, const beam_text_options *o, beam_status *s, int64_t *bad)
{
    static char all[4096];
    size_t used = 0, size;
    const char *text;
    beam_text *t;
    all[0] = '\0';
    *s = beam_text_open(path, o, &t);
    if (*s != BEAM_OK)
        return all;
    while ((*s = beam_text_next(t, &text, &size)) == BEAM_OK && text) {
        assert_true(used + size + 2 < sizeof all && text[size] == '\0');
        memcpy(all + used, text, size);
        used += size;
        all[used++] = '|';
    }
    all[used] = '\0';
    if (bad)
        *bad = beam_text_bad_rows(t);
    beam_text_close(t);
    return all;
}

static void expect(const char *name, const char *content, const beam_text_options *o, const char *documents)
{
    beam_status s;
    assert_string_equal(read_all(scratch_text(name, content), o, &s, NULL), documents);
    assert_int_equal(s, BEAM_OK);
}

static void json_lines(void **state)
{
    (void)state;
    const beam_text_options o = {0}, body = {.field = "body"};
    expect("a.jsonl", "", &o, "");
    expect("a.jsonl", "\n\n", &o, "");
    expect("a.jsonl", "{\"text\": \"one\"}\n\n{\"id\": 18446744073709551615, \"text\": \"t\\u00e4\\n\"}", &o,
           "one|t\xc3\xa4\n|");
    expect("a.jsonl", "{\"text\": \"\"}\r\n{\"text\": \"x\"}\r\n", &o, "|x|");
    expect("a.jsonl", "{\"text\": 1, \"body\": \"b\"}\n", &body, "b|");
    expect("a.jsonl", "{\"text\": \"<|im_end|>\"}\n", &o, "<|im_end|>|");
}

static void a_document_may_hold_zero_bytes(void **state)
{
    (void)state;
    const beam_text_options o = {0};
    const char *text;
    size_t size;
    beam_text *t;
    assert_int_equal(beam_text_open(scratch_text("z.jsonl", "{\"text\": \"a\\u0000b\"}"), &o, &t), BEAM_OK);
    assert_int_equal(beam_text_next(t, &text, &size), BEAM_OK);
    assert_int_equal(size, 3);
    assert_memory_equal(text, "a\0b", 4);
    beam_text_close(t);
    assert_int_equal(beam_text_open(scratch_write("z.txt", "a\0b", 3), &o, &t), BEAM_OK);
    assert_int_equal(beam_text_next(t, &text, &size), BEAM_OK);
    assert_int_equal(size, 3);
    assert_memory_equal(text, "a\0b", 4);
    beam_text_close(t);
}

static void hostile_lines(void **state)
{
    (void)state;
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"{\"text\": \"x\"", "not JSON"},
        {"{\"text\": \"x\"} {}", "not JSON"},
        {"[\"text\"]", "not a JSON object"},
        {"\"text\"", "not"},
        {"{\"content\": \"x\"}", "no key \"text\""},
        {"{\"text\": null}", "\"text\" is not a string"},
        {"{\"text\": [\"x\"]}", "\"text\" is not a string"},
        {"{\"text\": \"x\", \"text\": \"y\"}", "not JSON: duplicate"},
        {"{\"text\": \"\xff\xfe\"}", "not JSON"},
        {"{\"text\": \"\xc0\xaf\"}", "not JSON"},
        {"{\"text\": \"\\ud800\"}", "not JSON"},
        {"{\"text\": \"a\tb\"}", "not JSON"},
        {"{\"text\": \"x\", \"n\": 1e999}", "not JSON"},
        {"\xef\xbb\xbf{\"text\": \"x\"}", "not JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const beam_text_options strict = {0}, lenient = {.max_bad_rows = 1};
        char content[256];
        beam_status s;
        int64_t bad;
        snprintf(content, sizeof content, "{\"text\": \"first\"}\n%s\n{\"text\": \"last\"}\n", cases[i].line);
        const char *path = scratch_text("h.jsonl", content);
        assert_string_equal(read_all(path, &strict, &s, NULL), "first|");
        assert_int_equal(s, BEAM_EDATA);
        assert_true(message_has("h.jsonl:2: "));
        assert_true(message_has(cases[i].message));
        assert_string_equal(read_all(path, &lenient, &s, &bad), "first|last|");
        assert_int_equal(s, BEAM_OK);
        assert_int_equal(bad, 1);
    }
}

static void deep_nesting_is_an_error(void **state)
{
    (void)state;
    const beam_text_options o = {0};
    const size_t n = 200000;
    char *line = malloc(n + 16);
    assert_non_null(line);
    memcpy(line, "{\"text\":", 8);
    memset(line + 8, '[', n);
    line[n + 8] = '\0';
    beam_status s;
    read_all(scratch_text("d.jsonl", line), &o, &s, NULL);
    assert_int_equal(s, BEAM_EDATA);
    free(line);
}

/* {"text": "first"}, a line of n bytes, {"text": "last"} */
static const char *long_line(size_t n)
{
    static const char first[] = "{\"text\": \"first\"}\n", last[] = "\n{\"text\": \"last\"}\n";
    char *content = malloc(n + sizeof first + sizeof last);
    assert_non_null(content);
    memcpy(content, first, sizeof first - 1);
    memset(content + sizeof first - 1, ' ', n);
    memcpy(content + sizeof first - 1 + n, last, sizeof last - 1);
    const char *path = scratch_write("l.jsonl", content, n + sizeof first + sizeof last - 2);
    free(content);
    return path;
}

static void a_line_has_a_limit(void **state)
{
    (void)state;
    const beam_text_options strict = {0}, lenient = {.max_bad_rows = 1};
    beam_status s;
    int64_t bad;
    assert_string_equal(read_all(long_line(BEAM_TEXT_LINE_MAX - 1), &strict, &s, NULL), "first|last|");
    const char *path = long_line(BEAM_TEXT_LINE_MAX);
    assert_string_equal(read_all(path, &strict, &s, NULL), "first|");
    assert_int_equal(s, BEAM_EDATA);
    assert_true(message_has("l.jsonl:2: longer than 16 MiB"));
    assert_string_equal(read_all(path, &lenient, &s, &bad), "first|last|");
    assert_int_equal(bad, 1);
}

static void plain_text(void **state)
{
    (void)state;
    const beam_text_options whole = {0}, parts = {.separator = "<|endoftext|>"}, blank = {.separator = ""};
    expect("p.txt", "", &whole, "");
    expect("p.txt", "one\n\ntwo", &whole, "one\n\ntwo|");
    expect("p.txt", "one\ntwo\n<|endoftext|>\nthree\n<|endoftext|>", &parts, "one\ntwo\n|three\n|");
    expect("p.txt", "<|endoftext|>\r\n<|endoftext|>\none <|endoftext|>\n", &parts, "one <|endoftext|>\n|");
    expect("p.txt", "one\n\n\ntwo\nthree\n", &blank, "one\n|two\nthree\n|");
}

static void bad_characters_in_plain_text(void **state)
{
    (void)state;
    static const char *const bad_text[] = {
        "\x80",         "\xc3",        "\xc0\xaf",         "\xe0\x80\xaf",
        "\xed\xa0\x80", "\xe2\x82",    "\xf0\x80\x80\x80", "\xf4\x90\x80\x80",
        "\xff",         "\xe2\x28\xa1"};
    const beam_text_options strict = {.separator = "--"}, lenient = {.separator = "--", .max_bad_rows = 1};
    for (size_t i = 0; i < sizeof bad_text / sizeof bad_text[0]; i++) {
        char content[64];
        beam_status s;
        int64_t bad;
        snprintf(content, sizeof content, "one\n--\ntwo\n%s\nmore\n--\nthree\n", bad_text[i]);
        const char *path = scratch_text("c.txt", content);
        assert_string_equal(read_all(path, &strict, &s, NULL), "one\n|");
        assert_int_equal(s, BEAM_EDATA);
        assert_true(message_has("c.txt:4: not UTF-8"));
        assert_string_equal(read_all(path, &lenient, &s, &bad), "one\n|three\n|");
        assert_int_equal(bad, 1);
    }
    expect(
        "c.txt", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
        &strict, "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf|");
}

/* Compresses into one frame and appends it to out. */
static size_t add_frame(char *out, size_t room, const char *text, size_t n)
{
    const size_t size = ZSTD_compress(out, room, text, n, 3);
    assert_false(ZSTD_isError(size));
    return size;
}

static void compressed_text(void **state)
{
    (void)state;
    const beam_text_options o = {0};
    char frames[1024];
    size_t n = add_frame(frames, sizeof frames, "{\"text\": \"one\"}\n{\"te", 20);
    n += add_frame(frames + n, sizeof frames - n, "xt\": \"two\"}\n", 12);
    beam_status s;
    assert_string_equal(read_all(scratch_write("z.jsonl.zst", frames, n), &o, &s, NULL), "one|two|");
    assert_int_equal(s, BEAM_OK);
    for (size_t cut = 1; cut < n; cut++) {
        read_all(scratch_write("z.jsonl.zst", frames, cut), &o, &s, NULL);
        assert_int_equal(s, BEAM_EDATA);
    }
    frames[n] = 'x';
    read_all(scratch_write("z.jsonl.zst", frames, n + 1), &o, &s, NULL);
    assert_int_equal(s, BEAM_EDATA);
    read_all(scratch_text("z.txt.zst", "no frame at all"), &o, &s, NULL);
    assert_int_equal(s, BEAM_EDATA);
}

/* Much more text than fits into a buffer, from one short frame: nothing is lost at the seams. */
static void a_large_compressed_document(void **state)
{
    (void)state;
    const size_t n = 3000001;
    char *text = malloc(n), *frame = malloc(ZSTD_compressBound(n));
    assert_true(text && frame);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + i / 1000 % 26);
    const char *path = scratch_write("b.txt.zst", frame, add_frame(frame, ZSTD_compressBound(n), text, n));
    const beam_text_options o = {0};
    const char *document;
    size_t size;
    beam_text *t;
    assert_int_equal(beam_text_open(path, &o, &t), BEAM_OK);
    assert_int_equal(beam_text_next(t, &document, &size), BEAM_OK);
    assert_int_equal(size, n);
    assert_memory_equal(document, text, n);
    assert_int_equal(beam_text_next(t, &document, &size), BEAM_OK);
    assert_null(document);
    beam_text_close(t);
    free(text);
    free(frame);
}

static void unusable_files(void **state)
{
    (void)state;
    const beam_text_options o = {0};
    beam_status s;
    read_all(scratch_path("none.jsonl"), &o, &s, NULL);
    assert_int_equal(s, BEAM_EIO);
    read_all(scratch_text("x.parquet", "PAR1"), &o, &s, NULL);
    assert_int_equal(s, BEAM_EDATA);
    assert_true(message_has(".jsonl.zst"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines),
        cmocka_unit_test(a_document_may_hold_zero_bytes),
        cmocka_unit_test(hostile_lines),
        cmocka_unit_test(deep_nesting_is_an_error),
        cmocka_unit_test(a_line_has_a_limit),
        cmocka_unit_test(plain_text),
        cmocka_unit_test(bad_characters_in_plain_text),
        cmocka_unit_test(compressed_text),
        cmocka_unit_test(a_large_compressed_document),
        cmocka_unit_test(unusable_files),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
