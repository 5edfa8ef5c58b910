/* safetensors files, one by one: what beam inspect says of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/cmocka_all.h"
#include "data/scratch.h"
#include "hostile/refused.h"

enum { MODEL = 4 }; /* the exit code of a model that is refused */

/* A file of an 8-byte length, the header, and `payload` zero bytes. */
static const char *write_raw(const char *name, uint64_t length, const char *header, size_t payload)
{
    const size_t n = strlen(header);
    char *bytes = calloc(1, 8 + n + payload);
    assert_non_null(bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, n);
    const char *path = scratch_write(name, bytes, 8 + n + payload);
    free(bytes);
    return path;
}

#define TENSOR(name, dtype, shape, offsets)                                                                  \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define A4 TENSOR("a", "F32", "[1]", "[0,4]")

static void headers(void **state)
{
    (void)state;
    static const struct {
        const char *name, *header;
        size_t payload;
        const char *message;
    } cases[] = {
        {"unclosed", "{" A4, 4, "not valid JSON"},
        {"list", "[" A4 "]", 4, "does not start with '{'"},
        {"space-first", " {" A4 "}", 4, "does not start with '{'"},
        {"duplicate", "{" A4 "," A4 "}", 4, "duplicate"},
        {"cut-off", "{" A4 "}", 3, "was the file cut off?"},
        {"too-long", "{" A4 "}", 5, "end at byte 4 of 5"},
        {"hole", "{" A4 "," TENSOR("b", "F32", "[1]", "[8,12]") "}", 12, "leaves a hole"},
        {"overlap", "{" A4 "," TENSOR("b", "F32", "[1]", "[2,6]") "}", 6, "overlaps"},
        {"same-place", "{" A4 "," TENSOR("b", "F32", "[1]", "[0,4]") "}", 4, "overlaps"},
        {"short-data", "{" TENSOR("a", "F32", "[2]", "[0,4]") "}", 4, "needs 8 bytes"},
        {"backwards", "{" TENSOR("a", "F32", "[1]", "[4,0]") "}", 4, "outside"},
        {"negative", "{" TENSOR("a", "F32", "[1]", "[-4,0]") "}", 4, "outside"},
        {"overflow", "{" TENSOR("a", "F64", "[3037000500,3037000500]", "[0,4]") "}", 4, "overflows"},
        {"wraps-to-4", "{" TENSOR("a", "F32", "[4611686018427387905]", "[0,4]") "}", 4, "overflows"},
        {"huge-number", "{" TENSOR("a", "F32", "[99999999999999999999]", "[0,4]") "}", 4, "not valid JSON"},
        {"exponent", "{" TENSOR("a", "F32", "[1e0]", "[0,4]") "}", 4, "not a size"},
        {"five-dims", "{" TENSOR("a", "F32", "[1,1,1,1,1]", "[0,4]") "}", 4, "at most 4"},
        {"dtype-f8", "{" TENSOR("a", "F8_E5M2", "[4]", "[0,4]") "}", 4, "F8_E5M2"},
        {"dtype-escape", "{" TENSOR("a", "\\u001b[2J", "[4]", "[0,4]") "}", 4, "dtype is"},
        {"more-keys", "{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1],\"x\":1}}", 1, "exactly"},
        {"null", "{\"a\":null}", 0, "exactly"},
        {"name-escape", "{" TENSOR("\\u001b]0;x\\u0007", "U8", "[1]", "[0,1]") "}", 1, "control character"},
        {"name-nul", "{" TENSOR("a\\u0000b", "U8", "[1]", "[0,1]") "}", 1, "not valid JSON"},
        {"name-utf8", "{" TENSOR("\xc0\xaf", "U8", "[1]", "[0,1]") "}", 1, "not valid JSON"},
        {"lone-surrogate", "{" TENSOR("\\ud800", "U8", "[1]", "[0,1]") "}", 1, "not valid JSON"},
        {"metadata", "{\"__metadata__\":{\"format\":{}}," A4 "}", 4, "__metadata__"},
    };
    char file[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(file, sizeof file, "%s.safetensors", cases[i].name);
        const char *path = write_raw(file, strlen(cases[i].header), cases[i].header, cases[i].payload);
        expect_exit(MODEL, file, cases[i].message, "inspect", path, NULL);
    }
}

static void lengths(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t length;
    } cases[] = {{"length-max.safetensors", UINT64_MAX},
                 {"length-wraps.safetensors", UINT64_MAX - 7},
                 {"length-100mb.safetensors", 100000000},
                 {"length-one-more.safetensors", sizeof "{" A4 "}"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_exit(MODEL, cases[i].name, "its header claims", "inspect",
                    write_raw(cases[i].name, cases[i].length, "{" A4 "}", 0), NULL);
    expect_exit(MODEL, "empty.safetensors", "too few", "inspect", scratch_text("empty.safetensors", ""),
                NULL);
    expect_exit(MODEL, "zeros.safetensors", "does not start with '{'", "inspect",
                write_sparse("zeros.safetensors", (uint64_t)1 << 40), NULL);
}

/* A small file that would be large in memory, or take long. */
static void bombs(void **state)
{
    (void)state;
    static const struct {
        const char *name, *head, *part;
        size_t times;
        const char *tail, *message;
    } cases[] = {
        {"objects.safetensors", "{\"a\":[", "{},", 3000000, "{}]}", "too many values"},
        {"numbers.safetensors", "{\"a\":[", "1,", 8000000, "1]}", "too many values"},
        {"deep.safetensors", "{\"a\":", "[", 1000000, "", "nested too deep"},
        {"deep-objects.safetensors", "{\"a\":", "{\"a\":", 100000, "", "nested too deep"},
        {"string.safetensors", "{\"__metadata__\":{\"a\":\"", "xxxxxxxx", 2097140, "\"},\"a\":1}", "exactly"},
        {"long-name.safetensors", "{\"", "xxxxxxxx", 2097140, "\":1}", "1 to 159 are accepted"},
        {"wide-dtype.safetensors", "{\"a\":{\"shape\":[],\"data_offsets\":[0,0],\"dtype\":\"", "F", 1000000,
         "\"}}", "dtype is a long value"},
        {"wide-shape.safetensors", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0],\"shape\":[", "1,",
         900000, "1]}}", "at most 4 sizes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *header = repeat(cases[i].head, cases[i].part, cases[i].times, cases[i].tail);
        const char *path = write_raw(cases[i].name, strlen(header), header, 0);
        free(header);
        expect_exit(MODEL, cases[i].name, cases[i].message, "inspect", path, NULL);
    }
}

/* As many tensors as a header may have are accepted within the same limits. */
static void largest_header(void **state)
{
    (void)state;
    size_t n = 0;
    char *header = malloc((size_t)1 << 24), *to = header;
    assert_non_null(header);
    for (int i = 0; i < 45000; i++, n++)
        to += sprintf(to,
                      "%c\"model.layers.%d.mlp.experts.%d.gate_proj.weight\":"
                      "{\"dtype\":\"BF16\",\"shape\":[0,2048],\"data_offsets\":[0,0]}",
                      i ? ',' : '{', i / 512, i % 512);
    strcpy(to, "}");
    const char *path = write_raw("largest.safetensors", strlen(header), header, 0);
    free(header);
    expect_exit(0, "largest.safetensors", "45000 tensors", "inspect", path, NULL);
}

static void kinds_of_file(void **state)
{
    (void)state;
    const char *pipe = scratch_path("pipe.safetensors");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    expect_exit(5, "pipe.safetensors", "no such file", "inspect", pipe, NULL);
    const char *link = scratch_path("loop.safetensors");
    assert_int_equal(symlink(link, link), 0);
    expect_exit(5, "loop.safetensors", "no such file", "inspect", link, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers),        cmocka_unit_test(lengths),       cmocka_unit_test(bombs),
        cmocka_unit_test(largest_header), cmocka_unit_test(kinds_of_file),
    };
    const int failed = cmocka_run_group_tests(tests, scratch_open, scratch_close);
    print_worst();
    return failed;
}
