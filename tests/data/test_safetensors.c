/* safetensors: what is written is read back, also in shards; a file that is cut off is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bf16.h"
#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/safetensors.h"
#include "data/scratch.h"

/* The value of element i of item k: exact in every floating-point dtype. */
static float value_at(int64_t k, int64_t i)
{
    return (float)((k * 37 + i * 11) % 255 - 127) / 8;
}

typedef struct {
    const beam_weight_source *tensors;
    int64_t calls;
    int64_t fail_at; /* -1: never */
} filler;

static beam_status fill(void *context, int64_t item, void *bytes)
{
    filler *f = context;
    const beam_weight_source *t = &f->tensors[item];
    const int64_t n = beam_count(beam_view(NULL, t->dtype, t->ndim, t->dim));
    if (f->calls++ == f->fail_at)
        return BEAM_FAIL(BEAM_EDEVICE, "the source is gone");
    for (int64_t i = 0; i < n; i++) {
        const float v = value_at(item, i);
        if (t->dtype == BEAM_F32)
            ((float *)bytes)[i] = v;
        else if (t->dtype == BEAM_F64)
            ((double *)bytes)[i] = v;
        else if (t->dtype == BEAM_BF16)
            ((uint16_t *)bytes)[i] = beam_f32_to_bf16(v);
        else if (t->dtype == BEAM_F16)
            ((uint16_t *)bytes)[i] = beam_f32_to_f16(v);
        else
            ((uint8_t *)bytes)[i] = (uint8_t)i;
    }
    return BEAM_OK;
}

enum { SOURCES = 6 };

/* Different dtypes, odd sizes, a scalar, an empty tensor, and one larger than the reader's buffer. */
static void make_sources(beam_weight_source t[SOURCES], filler *f)
{
    static const beam_dtype dtype[SOURCES] = {BEAM_U8, BEAM_BF16, BEAM_F32, BEAM_F64, BEAM_F16, BEAM_BF16};
    static const int64_t rows[SOURCES] = {3, 5, 7, 2, 1, 300};
    *f = (filler){.tensors = t, .fail_at = -1};
    for (int k = 0; k < SOURCES; k++) {
        t[k] = (beam_weight_source){.dtype = dtype[k],
                                    .ndim = 2,
                                    .dim = {rows[k], k == 5 ? 333 : k + 1},
                                    .fill = fill,
                                    .context = f,
                                    .item = k};
        snprintf(t[k].name, sizeof t[k].name, "model.layers.%d.weight", SOURCES - k);
    }
    t[4].ndim = 0;
    t[3].dim[1] = 0;
}

/* The last elements alone, more than are converted at a time if there are so many. */
static void check_part(const beam_weights *w, const beam_weight *t, int64_t k, int64_t count)
{
    const int64_t first = count / 3, n = count - first;
    float *out = malloc((size_t)(n + 1) * sizeof *out);
    assert_non_null(out);
    out[n] = -1;
    assert_int_equal(beam_weights_read_f32_at(w, t, first, n, out), BEAM_OK);
    for (int64_t i = 0; i < n; i++)
        assert_true(out[i] == value_at(k, first + i));
    assert_true(out[n] == -1);
    free(out);
}

static void check_sources(const char *path, const beam_weight_source *t, int64_t n)
{
    beam_weights *w;
    float *out = malloc(300 * 333 * sizeof *out);
    assert_non_null(out);
    assert_int_equal(beam_weights_open(path, &w), BEAM_OK);
    assert_int_equal(beam_weights_count(w), n);
    for (int64_t k = 0; k < n; k++) {
        const beam_weight *found = beam_weights_find(w, t[k].name);
        assert_non_null(found);
        assert_int_equal(found->dtype, t[k].dtype);
        assert_int_equal(found->ndim, t[k].ndim);
        assert_int_equal(found->offset % beam_dtype_size(found->dtype), 0);
        const int64_t count = beam_count(beam_view(NULL, t[k].dtype, t[k].ndim, t[k].dim));
        if (t[k].dtype == BEAM_U8) {
            uint8_t raw[16];
            assert_int_equal(beam_weights_read_f32(w, found, out), BEAM_EMODEL);
            assert_int_equal(beam_weights_read_raw(w, found, raw), BEAM_OK);
            for (int64_t i = 0; i < count; i++)
                assert_int_equal(raw[i], i);
            continue;
        }
        assert_int_equal(beam_weights_read_f32(w, found, out), BEAM_OK);
        for (int64_t i = 0; i < count; i++)
            assert_true(out[i] == value_at(k, i));
        check_part(w, found, k, count);
    }
    for (int64_t i = 1; i < n; i++)
        assert_true(strcmp(beam_weights_at(w, i - 1)->name, beam_weights_at(w, i)->name) < 0);
    assert_null(beam_weights_find(w, "model.layers.9.weight"));
    beam_weights_close(w);
    free(out);
}

static void one_file_round_trip(void **state)
{
    (void)state;
    beam_weight_source t[SOURCES];
    filler f;
    size_t a, b;
    make_sources(t, &f);
    const char *path = scratch_path("one.safetensors"), *again = scratch_path("again.safetensors");
    assert_int_equal(beam_safetensors_write(path, t, SOURCES), BEAM_OK);
    assert_int_equal(f.calls, SOURCES);
    check_sources(path, t, SOURCES);
    assert_int_equal(beam_safetensors_write(again, t, SOURCES), BEAM_OK);
    char *first = scratch_read(path, &a), *second = scratch_read(again, &b);
    assert_int_equal(a, b);
    assert_memory_equal(first, second, a);
    assert_true(first[0] % 8 == 0 && strstr(first + 8, "{\"format\":\"pt\"}"));
    free(first);
    free(second);
}

static void folder_round_trip(void **state)
{
    (void)state;
    beam_weight_source t[SOURCES];
    filler f;
    make_sources(t, &f);
    const char *one = scratch_path("single"), *many = scratch_path("sharded");
    assert_int_equal(beam_make_folder(one), BEAM_OK);
    assert_int_equal(beam_make_folder(many), BEAM_OK);
    assert_int_equal(beam_safetensors_write_folder(one, t, SOURCES, 1 << 30), BEAM_OK);
    assert_int_equal(scratch_count(one, ""), 1);
    check_sources(one, t, SOURCES);
    assert_int_equal(beam_safetensors_write_folder(many, t, SOURCES, 90), BEAM_OK);
    assert_int_equal(scratch_count(many, "-of-00003.safetensors"), 3);
    assert_true(beam_file_exists(scratch_path("sharded/model-00002-of-00003.safetensors")));
    assert_int_equal(scratch_count(many, "index.json"), 1);
    assert_int_equal(scratch_count(many, ""), 4);
    check_sources(many, t, SOURCES);
}

static void a_failing_source_leaves_nothing(void **state)
{
    (void)state;
    beam_weight_source t[SOURCES];
    filler f;
    const char *folder = scratch_path("failing");
    assert_int_equal(beam_make_folder(folder), BEAM_OK);
    for (int64_t k = 0; k < SOURCES; k++) {
        make_sources(t, &f);
        f.fail_at = k;
        assert_int_equal(beam_safetensors_write_folder(folder, t, SOURCES, 90), BEAM_EDEVICE);
        f.calls = 0;
        assert_int_equal(beam_safetensors_write(scratch_path("failing/a.safetensors"), t, SOURCES),
                         BEAM_EDEVICE);
        assert_int_equal(scratch_count(folder, ""), 0);
    }
}

/* Every prefix of a good file is refused: the length of the file is part of the format. */
static void refuses_every_truncation(void **state)
{
    (void)state;
    beam_weight_source t[SOURCES];
    filler f;
    size_t size;
    make_sources(t, &f);
    const char *path = scratch_path("whole.safetensors");
    assert_int_equal(beam_safetensors_write(path, t, SOURCES - 1), BEAM_OK);
    char *bytes = scratch_read(path, &size);
    for (size_t n = 0; n < size; n++) {
        beam_weights *w;
        assert_int_equal(beam_weights_open(scratch_write("cut.safetensors", bytes, n), &w), BEAM_EMODEL);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_file_round_trip),
        cmocka_unit_test(folder_round_trip),
        cmocka_unit_test(a_failing_source_leaves_nothing),
        cmocka_unit_test(refuses_every_truncation),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
