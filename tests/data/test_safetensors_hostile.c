/* safetensors files that break a rule, one by one: each is refused with its message, and nothing leaks. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/safetensors.h"
#include "data/scratch.h"

/* A file of an 8-byte length, the header, and `payload` zero bytes. */
static const char *write_raw(const char *name, uint64_t length, const char *header, size_t payload)
{
    static char bytes[70000];
    const size_t n = strlen(header);
    BEAM_ASSERT(8 + n + payload <= sizeof bytes);
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, n);
    return scratch_write(name, bytes, 8 + n + payload);
}

static const char *write_header(const char *name, const char *header, size_t payload)
{
    return write_raw(name, strlen(header), header, payload);
}

static void expect(const char *path, beam_status wanted, const char *message, const char *file)
{
    beam_weights *w = (beam_weights *)&w;
    const beam_status s = beam_weights_open(path, &w);
    if (s != wanted)
        print_message("%s gave %d\n", message, (int)s);
    assert_int_equal(s, wanted);
    assert_null(w);
    assert_true(message_has(message));
    assert_true(message_has(file));
}

#define A4 "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"

static void accepts_the_plain_case(void **state)
{
    (void)state;
    beam_weights *w;
    static const struct {
        const char *header;
        size_t payload;
    } good[] = {
        {"{" A4 "}", 4},
        {"{" A4 "}   ", 4},
        {"{}", 0},
        {"{\"__metadata__\":{\"format\":\"pt\"}," A4 "}", 4},
        {"{\"e\":{\"dtype\":\"BF16\",\"shape\":[0,7],\"data_offsets\":[4,4]}," A4 "}", 4},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(
            beam_weights_open(write_header("good.safetensors", good[i].header, good[i].payload), &w),
            BEAM_OK);
        beam_weights_close(w);
    }
}

static void refuses_hostile_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t payload;
        const char *message;
    } cases[] = {
        {"{" A4, 4, "not valid JSON"},
        {" {" A4 "}", 4, "'{'"},
        {"[]", 0, "'{'"},
        {"{" A4 "," A4 "}", 4, "duplicate"},
        {"{" A4 ",\"b\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
         "duplicate"},
        {"{" A4 "}", 3, "outside"},
        {"{" A4 "}", 5, "end at byte 4 of 5"},
        {"{}", 1, "end at byte 0 of 1"},
        {"{" A4 ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}", 12, "hole"},
        {"{" A4 ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}", 6, "overlaps"},
        {"{" A4 ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "needs 8 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "outside"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "outside"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0.0,4]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":4}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,4]}}", 4,
         "overflows"},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[3037000500,3037000500],\"data_offsets\":[0,4]}}", 4,
         "overflows"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[18446744073709551617],\"data_offsets\":[0,4]}}", 4,
         "not valid JSON"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "not a size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 4, "not a size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "at most 4"},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "F8_E4M3"},
        {"{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype is 32"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "exactly"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "exactly"},
        {"{\"a\":[]}", 0, "exactly"},
        {"{\"a\":null}", 0, "exactly"},
        {"{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "name has 0 bytes"},
        {"{\"a\\u001b[31m\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "control"},
        {"{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "not valid JSON"},
        {"{\"a\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "not valid JSON"},
        {"{\"__metadata__\":{\"format\":1}," A4 "}", 4, "__metadata__"},
        {"{\"__metadata__\":[]," A4 "}", 4, "__metadata__"},
        {"{\"__metadata__\":{\"a\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}}", 0, "nested"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect(write_header("bad.safetensors", cases[i].header, cases[i].payload), BEAM_EMODEL,
               cases[i].message, "bad.safetensors");
}

static void refuses_hostile_lengths(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {0, 1, 100000001, 1u << 31, UINT64_MAX, UINT64_MAX - 7, INT64_MAX, 60};
    static const char *const messages[] = {"'{'",    "not valid JSON", "claims", "claims",
                                           "claims", "claims",         "claims", "claims"};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        expect(write_raw("length.safetensors", lengths[i], "{" A4 "}", 0), BEAM_EMODEL, messages[i],
               "length.safetensors");
    for (size_t n = 0; n < 10; n++)
        expect(scratch_write("short.safetensors", "\2\0\0\0\0\0\0\0{}", n), BEAM_EMODEL, "too few",
               "short.safetensors");
    expect(scratch_path("absent.safetensors"), BEAM_EIO, "cannot open", "absent.safetensors");
}

static void refuses_long_names(void **state)
{
    (void)state;
    char header[512], name[200];
    for (int n = 159; n <= 160; n++) {
        beam_weights *w;
        memset(name, 'x', (size_t)n);
        name[n] = '\0';
        snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}",
                 name);
        const char *path = write_header("name.safetensors", header, 1);
        if (n == 160) {
            expect(path, BEAM_EMODEL, "160 bytes", "name.safetensors");
            continue;
        }
        assert_int_equal(beam_weights_open(path, &w), BEAM_OK);
        assert_non_null(beam_weights_find(w, name));
        beam_weights_close(w);
    }
}

static void write_two_shards(const char *index)
{
    static const char b[] = "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    assert_int_equal(beam_make_folder(scratch_path("model")), BEAM_OK);
    write_header("model/1.safetensors", "{" A4 "}", 4);
    write_header("model/2.safetensors", b, 4);
    scratch_text("model/model.safetensors.index.json", index);
}

static void refuses_hostile_indexes(void **state)
{
    (void)state;
    static const struct {
        const char *map, *message;
    } cases[] = {
        {"{\"a\":\"1.safetensors\",\"b\":\"../model/2.safetensors\"}", "plain name"},
        {"{\"a\":\"1.safetensors\",\"b\":\"/etc/passwd\"}", "plain name"},
        {"{\"a\":\"1.safetensors\",\"b\":\"2.bin\"}", "plain name"},
        {"{\"a\":\"1.safetensors\",\"b\":\".safetensors\"}", "plain name"},
        {"{\"a\":\"1.safetensors\",\"b\":\"\"}", "plain name"},
        {"{\"a\":\"1.safetensors\",\"b\":2}", "plain name"},
        {"{\"a\":\"2.safetensors\",\"b\":\"1.safetensors\"}", "weight_map says"},
        {"{\"a\":\"1.safetensors\",\"c\":\"2.safetensors\"}", "weight_map says nothing"},
        {"{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\",\"c\":\"2.safetensors\"}", "tensor c"},
        {"{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\",\"b\":\"2.safetensors\"}", "duplicate"},
        {"{}", "empty"},
        {"[]", "not an object"},
    };
    char index[300];
    beam_weights *w;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(index, sizeof index, "{\"weight_map\":%s}", cases[i].map);
        write_two_shards(index);
        expect(scratch_path("model"), BEAM_EMODEL, cases[i].message, "index.json");
    }
    write_two_shards("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"3.safetensors\"}}");
    expect(scratch_path("model"), BEAM_EIO, "cannot open", "3.safetensors");
    write_two_shards("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}");
    assert_int_equal(beam_weights_open(scratch_path("model"), &w), BEAM_OK);
    assert_int_equal(beam_weights_count(w), 2);
    beam_weights_close(w);
    write_header("model/2.safetensors", "{" A4 "}", 4);
    expect(scratch_path("model"), BEAM_EMODEL, "is also in", "2.safetensors");
}

static void follows_no_links_in_folders(void **state)
{
    (void)state;
    beam_weights *w;
    assert_int_equal(beam_make_folder(scratch_path("linked")), BEAM_OK);
    const char *target = write_header("target.safetensors", "{" A4 "}", 4);
    const char *link = scratch_path("linked/model.safetensors");
    assert_int_equal(symlink(target, link), 0);
    expect(scratch_path("linked"), BEAM_EMODEL, "symbolic link", "linked/model.safetensors");
    assert_int_equal(beam_weights_open(link, &w), BEAM_OK); /* named by the user: fine */
    beam_weights_close(w);
    assert_int_equal(unlink(link), 0);
    expect(scratch_path("linked"), BEAM_EMODEL, "holds neither", "linked");
    scratch_text("index.json", "{\"weight_map\":{\"a\":\"1.safetensors\"}}");
    assert_int_equal(symlink("../index.json", scratch_path("linked/model.safetensors.index.json")), 0);
    expect(scratch_path("linked"), BEAM_EMODEL, "symbolic link", "index.json");
    assert_int_equal(mkfifo(scratch_path("pipe.safetensors"), 0600), 0);
    expect(scratch_path("pipe.safetensors"), BEAM_EMODEL, "not a regular file", "pipe.safetensors");
}

/* A file cut off after it was opened gives an error, not a crash. */
static void notices_truncation_while_reading(void **state)
{
    (void)state;
    beam_weights *w;
    float x;
    const char *path = write_header("shrinks.safetensors", "{" A4 "}", 4);
    assert_int_equal(beam_weights_open(path, &w), BEAM_OK);
    assert_int_equal(truncate(path, 60), 0);
    assert_int_equal(beam_weights_read_f32(w, beam_weights_find(w, "a"), &x), BEAM_EIO);
    assert_true(message_has("shrinks.safetensors"));
    beam_weights_close(w);
}

static int descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static void leaks_no_descriptors(void **state)
{
    (void)state;
    const int before = descriptors();
    refuses_hostile_headers(state);
    refuses_hostile_indexes(state);
    assert_int_equal(descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_the_plain_case),           cmocka_unit_test(refuses_hostile_headers),
        cmocka_unit_test(refuses_hostile_lengths),          cmocka_unit_test(refuses_long_names),
        cmocka_unit_test(refuses_hostile_indexes),          cmocka_unit_test(follows_no_links_in_folders),
        cmocka_unit_test(notices_truncation_while_reading), cmocka_unit_test(leaks_no_descriptors),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
