/* core/tensor.h: shapes, views and their limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/tensor.h"
#include "support/stops.h"

static void test_dtypes(void **state)
{
    (void)state;
    const struct {
        beam_dtype type;
        size_t size;
        const char *name;
    } rows[] = {{BEAM_F32, 4, "f32"}, {BEAM_F64, 8, "f64"}, {BEAM_BF16, 2, "bf16"}, {BEAM_F16, 2, "f16"},
                {BEAM_I32, 4, "i32"}, {BEAM_I64, 8, "i64"}, {BEAM_U8, 1, "u8"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(beam_dtype_size(rows[i].type), rows[i].size);
        assert_string_equal(beam_dtype_name(rows[i].type), rows[i].name);
    }
}

static void test_view(void **state)
{
    (void)state;
    float data[24] = {0};
    const beam_tensor t = beam_view(data, BEAM_F32, BEAM_DIMS(2, 3, 4));
    assert_ptr_equal(t.data, data);
    assert_int_equal(t.ndim, 3);
    assert_int_equal(t.dim[3], 1);
    assert_int_equal(beam_count(t), 24);
    assert_int_equal(beam_bytes(t), 96);
    assert_int_equal(beam_count(beam_view(data, BEAM_F32, 0, NULL)), 1);
    assert_int_equal(beam_count(beam_view(data, BEAM_F32, BEAM_DIMS(3, 0))), 0);
    const beam_tensor large = beam_view(NULL, BEAM_BF16, BEAM_DIMS(INT64_C(1) << 20, INT64_C(1) << 20));
    assert_true(beam_bytes(large) == (size_t)1 << 41);
}

static void test_same_shape(void **state)
{
    (void)state;
    const beam_tensor a = beam_view(NULL, BEAM_F32, BEAM_DIMS(2, 3));
    assert_true(beam_same_shape(a, beam_view(NULL, BEAM_I64, BEAM_DIMS(2, 3))));
    assert_false(beam_same_shape(a, beam_view(NULL, BEAM_F32, BEAM_DIMS(3, 2))));
    assert_false(beam_same_shape(a, beam_view(NULL, BEAM_F32, BEAM_DIMS(2, 3, 1))));
}

static void test_rows_and_reshape(void **state)
{
    (void)state;
    float data[24];
    for (int i = 0; i < 24; i++)
        data[i] = (float)i;
    const beam_tensor t = beam_view(data, BEAM_F32, BEAM_DIMS(4, 3, 2));
    const beam_tensor rows = beam_rows(t, 1, 2);
    assert_int_equal(rows.dim[0], 2);
    assert_int_equal(rows.dim[1], 3);
    assert_int_equal(rows.ndim, 3);
    assert_true(((const float *)rows.data)[0] == 6);
    assert_int_equal(beam_count(beam_rows(t, 4, 0)), 0);
    const beam_tensor flat = beam_reshape(t, BEAM_DIMS(12, 2));
    assert_ptr_equal(flat.data, data);
    assert_int_equal(flat.dim[0], 12);
    assert_int_equal(flat.dim[2], 1);
}

static void rows_past_the_end(void *t)
{
    beam_rows(*(const beam_tensor *)t, 3, 2);
}

static void rows_before_the_start(void *t)
{
    beam_rows(*(const beam_tensor *)t, -1, 2);
}

static void reshape_to_another_count(void *t)
{
    beam_reshape(*(const beam_tensor *)t, BEAM_DIMS(5, 5));
}

static void negative_dim(void *t)
{
    beam_view(*(void **)t, BEAM_F32, BEAM_DIMS(2, -1));
}

static void five_dims(void *t)
{
    beam_view(*(void **)t, BEAM_F32, BEAM_DIMS(1, 1, 1, 1, 1));
}

static void test_contracts(void **state)
{
    (void)state;
    float data[24] = {0};
    beam_tensor t = beam_view(data, BEAM_F32, BEAM_DIMS(4, 6));
    assert_true(test_stops(rows_past_the_end, &t));
    assert_true(test_stops(rows_before_the_start, &t));
    assert_true(test_stops(reshape_to_another_count, &t));
    assert_true(test_stops(negative_dim, &t));
    assert_true(test_stops(five_dims, &t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dtypes),     cmocka_unit_test(test_view),
        cmocka_unit_test(test_same_shape), cmocka_unit_test(test_rows_and_reshape),
        cmocka_unit_test(test_contracts),
    };
    return cmocka_run_group_tests_name("unit.core_tensor", tests, NULL, NULL);
}
