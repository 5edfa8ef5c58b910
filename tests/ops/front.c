/* The front of the ops: memory, the sticky failure, and contracts that stop the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/ops.h"
#include "support/stops.h"

enum { N = 6 };

/* A tensor over an array of floats. */
static beam_tensor row(float *data, int64_t n)
{
    return beam_view(data, BEAM_F32, BEAM_DIMS(n));
}

static void test_memory(void **state)
{
    (void)state;
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 2), BEAM_OK);
    const float sent[N] = {1, 2, 3, 4, 5, 6};
    float back[N];
    void *p = beam_alloc(&be, sizeof sent, "numbers");
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % BEAM_ALIGN, 0);
    const beam_tensor t = row(p, N);
    beam_upload(&be, t, sent);
    beam_download(&be, back, t);
    assert_int_equal(beam_sync(&be), BEAM_OK);
    assert_memory_equal(back, sent, sizeof sent);
    beam_zero(&be, beam_rows(t, 2, 3));
    beam_download(&be, back, t);
    const float expected[N] = {1, 2, 0, 0, 0, 6};
    assert_memory_equal(back, expected, sizeof expected);
    beam_free(&be, p);
    beam_free(&be, NULL);
    beam_backend_close(&be);
}

/* After the first failure ops leave memory alone, downloads are zeros, and sync reports it. */
static void test_failure_is_sticky(void **state)
{
    (void)state;
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 2), BEAM_OK);
    float x[N] = {1, 2, 3, 4, 5, 6}, y[N] = {7, 7, 7, 7, 7, 7};
    assert_null(beam_alloc(&be, SIZE_MAX - 63, "a whale"));
    assert_int_equal(be.status, BEAM_ENOMEM);
    assert_non_null(strstr(beam_last_error(), "a whale"));
    assert_non_null(strstr(beam_last_error(), "18446744073709551552"));
    beam_copy(&be, row(y, N), row(x, N));
    beam_add(&be, row(y, N), row(x, N));
    beam_zero(&be, row(y, N));
    beam_upload(&be, row(y, N), x);
    for (int i = 0; i < N; i++)
        assert_true(y[i] == 7);
    beam_download(&be, x, row(y, N));
    for (int i = 0; i < N; i++)
        assert_true(x[i] == 0);
    assert_null(beam_alloc(&be, 64, "something small"));
    assert_int_equal(beam_sync(&be), BEAM_ENOMEM);
    beam_backend_close(&be);
}

static void copy_of_other_shape(void *be)
{
    float x[N] = {0}, y[N] = {0};
    beam_copy(be, row(y, N), row(x, N - 1));
}

static void add_of_other_type(void *be)
{
    double x[N] = {0}, y[N] = {0};
    beam_add(be, beam_view(y, BEAM_F64, BEAM_DIMS(N)), beam_view(x, BEAM_F64, BEAM_DIMS(N)));
}

static void gemm_of_wrong_inner_size(void *be)
{
    float x[N] = {0}, y[N] = {0}, z[N] = {0};
    beam_gemm(be, beam_view(z, BEAM_F32, BEAM_DIMS(2, 2)), beam_view(x, BEAM_F32, BEAM_DIMS(2, 3)), false,
              beam_view(y, BEAM_F32, BEAM_DIMS(2, 2)), false, 1, 0);
}

static void copy_to_nowhere(void *be)
{
    float x[N] = {0};
    beam_copy(be, row(NULL, N), row(x, N));
}

static void nothing_wrong(void *be)
{
    float x[N] = {0}, y[N] = {0};
    beam_copy(be, row(y, 0), row(x, 0));
}

static void test_contracts(void **state)
{
    (void)state;
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
    assert_true(test_stops(copy_of_other_shape, &be));
    assert_true(test_stops(add_of_other_type, &be));
    assert_true(test_stops(gemm_of_wrong_inner_size, &be));
    assert_true(test_stops(copy_to_nowhere, &be));
    assert_false(test_stops(nothing_wrong, &be));
    beam_backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contracts), /* first: it forks, and must not inherit a team of threads */
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_failure_is_sticky),
    };
    return cmocka_run_group_tests_name("ops.front", tests, NULL, NULL);
}
