/* HDF5 images: what is written comes back; what is damaged or hostile is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/rng.h"
#include "data/cmocka_all.h"
#include "data/hdf5_image.h"

enum { ARRAYS = 14 };

typedef struct {
    char name[64];
    beam_tensor t;
} array;

static void *some_bytes(uint64_t stream, size_t n)
{
    unsigned char *p = malloc(n + 1);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(beam_random_bits(7, stream, i) & (stream % 2 ? 255 : 3));
    return p;
}

/* Every dtype and every kind of shape: scalar, empty, several dims, more than one chunk, a row longer than a
 * chunk. */
static void make_arrays(array a[ARRAYS])
{
    static const beam_dtype dtype[] = {BEAM_F32, BEAM_F64, BEAM_I32, BEAM_I64, BEAM_U8};
    static const struct {
        int ndim;
        int64_t dim[BEAM_MAX_DIM];
    } shape[ARRAYS] = {{0, {0}},       {1, {0}},          {1, {1}},          {1, {37}},    {2, {3, 5}},
                       {3, {2, 3, 4}}, {4, {2, 1, 3, 2}}, {2, {5, 0}},       {1, {9000}},  {0, {0}},
                       {0, {0}},       {1, {600001}},     {2, {3, 1100000}}, {2, {301, 7}}};
    for (int i = 0; i < ARRAYS; i++) {
        snprintf(a[i].name, sizeof a[i].name, i % 3 ? "layer.%d/mlp.weight" : "x%d.bias", i);
        a[i].t = beam_view(NULL, dtype[i % 5], shape[i].ndim, shape[i].dim);
        a[i].t.data = some_bytes((uint64_t)i, beam_bytes(a[i].t));
    }
}

static void free_arrays(array a[ARRAYS])
{
    for (int i = 0; i < ARRAYS; i++)
        free(a[i].t.data);
}

static void *make_image(const array *a, int n, size_t *size)
{
    beam_h5 *f;
    void *image;
    assert_int_equal(beam_h5_create(&f), BEAM_OK);
    for (int i = 0; i < n; i++)
        assert_int_equal(beam_h5_put(f, a[i].name, a[i].t), BEAM_OK);
    assert_int_equal(beam_h5_put_i64(f, "step", INT64_MIN + 5), BEAM_OK);
    assert_int_equal(beam_h5_put_text(f, "tokenizer", "byte"), BEAM_OK);
    assert_int_equal(beam_h5_finish(f, &image, size), BEAM_OK);
    return image;
}

/* Reads array a from f: 0 equal, 1 refused, 2 different. */
static int compare(beam_h5 *f, const array *a)
{
    beam_tensor t;
    if (beam_h5_shape(f, a->name, &t) != BEAM_OK)
        return 1;
    if (t.dtype != a->t.dtype || !beam_same_shape(t, a->t))
        return 2;
    t.data = malloc(beam_bytes(t) + 1);
    assert_non_null(t.data);
    int result = 1;
    if (beam_h5_get(f, a->name, t) == BEAM_OK)
        result = memcmp(t.data, a->t.data, beam_bytes(t)) == 0 ? 0 : 2;
    free(t.data);
    return result;
}

static void round_trip(void **state)
{
    (void)state;
    array a[ARRAYS];
    make_arrays(a);
    size_t size;
    void *image = make_image(a, ARRAYS, &size);
    const char *last = "";
    beam_h5 *f, *twin;
    assert_int_equal(beam_h5_open(image, size, "t.h5", BEAM_EMODEL, &f), BEAM_OK);
    assert_int_equal(beam_h5_open(image, size, "t.h5", BEAM_EMODEL, &twin), BEAM_OK);
    assert_int_equal(beam_h5_count(f), ARRAYS);
    for (int i = 0; i < ARRAYS; i++) {
        assert_int_equal(compare(f, &a[i]), 0);
        assert_int_equal(compare(twin, &a[i]), 0);
        const char *name;
        beam_tensor t;
        beam_h5_at(f, i, &name, &t);
        assert_true(strcmp(last, name) < 0);
        last = name;
    }
    int64_t step;
    char text[8];
    assert_int_equal(beam_h5_get_i64(f, "step", &step), BEAM_OK);
    assert_int_equal(step, INT64_MIN + 5);
    assert_int_equal(beam_h5_get_text(f, "tokenizer", text, sizeof text), BEAM_OK);
    assert_string_equal(text, "byte");
    assert_int_equal(beam_h5_get_text(f, "tokenizer", text, 5), BEAM_OK); /* "byte" and its zero */
    assert_int_equal(beam_h5_get_text(f, "tokenizer", text, 4), BEAM_EMODEL);
    assert_int_equal(beam_h5_get_text(f, "step", text, sizeof text), BEAM_EMODEL);
    assert_int_equal(beam_h5_get_i64(f, "tokenizer", &step), BEAM_EMODEL);
    assert_int_equal(beam_h5_get_i64(f, "none", &step), BEAM_EMODEL);
    beam_h5_close(twin);
    beam_h5_close(f);
    free(image);
    free_arrays(a);
}

/* At another second of the day too. */
static void equal_content_is_equal_bytes(void **state)
{
    (void)state;
    array a[ARRAYS];
    size_t size, again;
    make_arrays(a);
    void *image = make_image(a, 10, &size);
    usleep(1100000);
    void *other = make_image(a, 10, &again);
    assert_int_equal(size, again);
    assert_memory_equal(image, other, size);
    free(image);
    free(other);
    free_arrays(a);
}

static void another_shape_or_type_is_refused(void **state)
{
    (void)state;
    float x[6] = {1, 2, 3, 4, 5, 6};
    const array a = {"x", beam_view(x, BEAM_F32, BEAM_DIMS(2, 3))};
    size_t size;
    void *image = make_image(&a, 1, &size);
    beam_h5 *f;
    assert_int_equal(beam_h5_open(image, size, "t.h5", BEAM_EDATA, &f), BEAM_OK);
    assert_int_equal(beam_h5_get(f, "x", beam_view(x, BEAM_F32, BEAM_DIMS(3, 2))), BEAM_EDATA);
    assert_int_equal(beam_h5_get(f, "x", beam_view(x, BEAM_F32, BEAM_DIMS(6))), BEAM_EDATA);
    assert_int_equal(beam_h5_get(f, "x", beam_view(x, BEAM_I32, BEAM_DIMS(2, 3))), BEAM_EDATA);
    assert_int_equal(beam_h5_get(f, "y", beam_view(x, BEAM_F32, BEAM_DIMS(2, 3))), BEAM_EDATA);
    assert_non_null(strstr(beam_last_error(), "t.h5"));
    beam_h5_close(f);
    free(image);
}

static void a_name_cannot_be_used_twice(void **state)
{
    (void)state;
    float x = 1;
    beam_h5 *f;
    void *image;
    size_t size;
    assert_int_equal(beam_h5_create(&f), BEAM_OK);
    assert_int_equal(beam_h5_put(f, "x", beam_view(&x, BEAM_F32, BEAM_DIMS(1))), BEAM_OK);
    assert_int_not_equal(beam_h5_put(f, "x", beam_view(&x, BEAM_F32, BEAM_DIMS(1))), BEAM_OK);
    assert_int_not_equal(beam_h5_put(f, "x/y", beam_view(&x, BEAM_F32, BEAM_DIMS(1))), BEAM_OK);
    assert_int_equal(beam_h5_finish(f, &image, &size), BEAM_OK);
    free(image);
}

static void long_texts_and_many_arrays(void **state)
{
    (void)state;
    enum { LONG = 200000, MANY = 1000 };
    char *text = malloc(LONG + 1), *back = malloc(LONG + 1);
    assert_true(text && back);
    memset(text, 'y', LONG);
    text[LONG] = '\0';
    beam_h5 *f;
    void *image;
    size_t size;
    assert_int_equal(beam_h5_create(&f), BEAM_OK);
    assert_int_equal(beam_h5_put_text(f, "config", text), BEAM_OK);
    assert_int_equal(beam_h5_put_text(f, "empty", ""), BEAM_OK);
    for (int64_t i = 0; i < MANY; i++) {
        char name[32];
        snprintf(name, sizeof name, "model.layers.%d.x", (int)i);
        assert_int_equal(beam_h5_put(f, name, beam_view(&i, BEAM_I64, BEAM_DIMS(1))), BEAM_OK);
    }
    assert_int_equal(beam_h5_finish(f, &image, &size), BEAM_OK);
    assert_int_equal(beam_h5_open(image, size, "t.h5", BEAM_EMODEL, &f), BEAM_OK);
    assert_int_equal(beam_h5_get_text(f, "config", back, LONG), BEAM_EMODEL); /* no room for the zero */
    assert_int_equal(beam_h5_get_text(f, "config", back, LONG + 1), BEAM_OK);
    assert_string_equal(back, text);
    assert_int_equal(beam_h5_get_text(f, "empty", back, 1), BEAM_OK);
    assert_string_equal(back, "");
    assert_int_equal(beam_h5_count(f), MANY);
    int64_t value;
    assert_int_equal(beam_h5_get(f, "model.layers.777.x", beam_view(&value, BEAM_I64, BEAM_DIMS(1))),
                     BEAM_OK);
    assert_int_equal(value, 777);
    beam_h5_close(f);
    free(image);
    free(text);
    free(back);
}

/* A small image with what checkpoints and token files are made of. */
static void *small_image(array a[10], size_t *size)
{
    for (int i = 0; i < 10; i++) {
        static const beam_dtype dtype[] = {BEAM_F32, BEAM_I32, BEAM_I64, BEAM_U8};
        snprintf(a[i].name, sizeof a[i].name, "g/x%d", i);
        a[i].t =
            i == 9 ? beam_view(NULL, BEAM_F32, 0, NULL) : beam_view(NULL, dtype[i % 4], BEAM_DIMS(i, 20));
        a[i].t.data = some_bytes((uint64_t)i, beam_bytes(a[i].t));
    }
    return make_image(a, 10, size);
}

/* Opens a damaged image and reads everything: returns 1 if anything was refused, 0 if all was right. */
static int read_damaged(const void *image, size_t size, const array a[10])
{
    beam_h5 *f;
    if (beam_h5_open(image, size, "damaged.h5", BEAM_EMODEL, &f) != BEAM_OK)
        return 1;
    int refused = 0;
    int64_t step;
    char text[64];
    for (int i = 0; i < 10; i++) {
        const int result = compare(f, &a[i]);
        assert_int_not_equal(result, 2);
        refused |= result;
    }
    if (beam_h5_get_i64(f, "step", &step) != BEAM_OK)
        refused = 1;
    else
        assert_int_equal(step, INT64_MIN + 5);
    if (beam_h5_get_text(f, "tokenizer", text, sizeof text) != BEAM_OK)
        refused = 1;
    else
        assert_string_equal(text, "byte");
    beam_h5_close(f);
    return refused;
}

static void a_flipped_bit_is_never_read_wrong(void **state)
{
    (void)state;
    array a[10];
    size_t size;
    unsigned char *image = small_image(a, &size);
    int refused = 0;
    assert_int_equal(read_damaged(image, size, a), 0);
    for (uint64_t i = 0; i < 10000; i++) {
        const uint64_t bit = beam_random_bits(1, 2, i) % (8 * size);
        image[bit / 8] ^= (unsigned char)(1u << bit % 8);
        refused += read_damaged(image, size, a);
        image[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    assert_int_equal(refused, 10000);
    for (int i = 0; i < 10; i++)
        free(a[i].t.data);
    free(image);
}

static void a_truncated_image_is_refused(void **state)
{
    (void)state;
    array a[10];
    size_t size;
    unsigned char *image = small_image(a, &size);
    for (size_t n = 0; n < size; n += n < 600 ? 1 : 13) {
        unsigned char *part = malloc(n + 1); /* exact bounds, for the address sanitizer */
        assert_non_null(part);
        memcpy(part, image, n);
        assert_int_equal(read_damaged(part, n, a), 1);
        free(part);
    }
    for (int i = 0; i < 10; i++)
        free(a[i].t.data);
    free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(equal_content_is_equal_bytes),
        cmocka_unit_test(another_shape_or_type_is_refused),
        cmocka_unit_test(long_texts_and_many_arrays),
        cmocka_unit_test(a_name_cannot_be_used_twice),
        cmocka_unit_test(a_flipped_bit_is_never_read_wrong),
        cmocka_unit_test(a_truncated_image_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
