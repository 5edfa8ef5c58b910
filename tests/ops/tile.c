/* The instructions of ptx.cuh, each by a kernel of its own: on the host shim, and (built as ops.tile_cuda) on
 * a device. On the shim also: mistakes that it must find. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/devices.h"
#include "kernels/ops.h"
#include "ops/tile.h"
#include "support/compare.h"
#include "support/stops.h"
#include "support/values.h"

#ifdef BEAM_TEST_SIMT
static beam_status open_device(beam_backend *be)
{
    return beam_backend_simt(be, BEAM_BF16);
}
#else
static beam_status open_device(beam_backend *be)
{
    return beam_backend_cuda(be, 0, BEAM_BF16);
}
#endif

enum { M = 16, N = 8, MOST = 16 };

/* One tensor on the host, and its copy on the device. */
typedef struct {
    double bytes[M * MOST];
    beam_tensor host, device;
} operand;

static void make(operand *o, beam_backend *be, beam_dtype t, const char *name, int64_t rows, int64_t columns)
{
    o->host = beam_view(o->bytes, t, BEAM_DIMS(rows, columns));
    o->device = beam_view(beam_alloc(be, beam_bytes(o->host), name), t, BEAM_DIMS(rows, columns));
    test_fill_normal(o->host, name, 1);
    beam_upload(be, o->device, o->bytes);
}

/* d + a b with rows of a from `rows` on as 0; b is [K,N], or [N,K] by column. */
static void multiply(operand *want, const operand *d, const operand *a, const operand *b, bool by_column,
                     int64_t rows)
{
    const int64_t K = a->host.dim[1];
    want->host = beam_view(want->bytes, BEAM_F64, BEAM_DIMS(M, N));
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) {
            double sum = test_get(d->host, i * N + j);
            for (int64_t k = 0; k < K && i < rows; k++)
                sum += test_get(a->host, i * K + k) * test_get(b->host, by_column ? j * K + k : k * N + j);
            test_set(want->host, i * N + j, sum);
        }
}

static void finish(beam_backend *be, operand *d, const operand *want, const operand *a, const operand *b,
                   double tolerance)
{
    double bytes[M * MOST];
    const beam_tensor got = beam_view(bytes, BEAM_F32, BEAM_DIMS(M, N));
    beam_download(be, bytes, d->device);
    assert_int_equal(beam_sync(be), BEAM_OK);
    assert_true(test_close("d", got, want->host, tolerance, 1));
    beam_free(be, d->device.data);
    beam_free(be, a->device.data);
    beam_free(be, b->device.data);
}

static void test_bf16(void **state)
{
    (void)state;
    beam_backend be;
    assert_int_equal(open_device(&be), BEAM_OK);
    for (int by_column = 0; by_column < 2; by_column++) {
        const int rows = by_column ? 11 : 16;
        operand d, a, b, want;
        make(&d, &be, BEAM_F32, "d", M, N);
        make(&a, &be, BEAM_BF16, "a", M, 16);
        make(&b, &be, BEAM_BF16, "b", by_column ? N : 16, by_column ? 16 : N);
        tile_bf16(&be, d.device, a.device, b.device, by_column, rows);
        multiply(&want, &d, &a, &b, by_column, rows);
        finish(&be, &d, &want, &a, &b, 1e-6);
    }
    beam_backend_close(&be);
}

static void test_tf32(void **state)
{
    (void)state;
    beam_backend be;
    assert_int_equal(open_device(&be), BEAM_OK);
    operand d, a, b, want;
    make(&d, &be, BEAM_F32, "d", M, N);
    make(&a, &be, BEAM_F32, "a", M, 8);
    make(&b, &be, BEAM_F32, "b", 8, N);
    tile_tf32(&be, d.device, a.device, b.device);
    multiply(&want, &d, &a, &b, false, M);
    finish(&be, &d, &want, &a, &b, 1e-3);
    beam_backend_close(&be);
}

/* 80 threads: the last warp is not whole. */
static void test_votes(void **state)
{
    (void)state;
    enum { THREADS = 80, ROWS = 8 };
    beam_backend be;
    assert_int_equal(open_device(&be), BEAM_OK);
    int32_t got[ROWS][THREADS];
    const beam_tensor out =
        beam_view(beam_alloc(&be, sizeof got, "votes"), BEAM_I32, BEAM_DIMS(ROWS, THREADS));
    tile_votes(&be, out);
    beam_download(&be, got, out);
    assert_int_equal(beam_sync(&be), BEAM_OK);
    for (int i = 0; i < THREADS; i++) {
        const int lane = i % 32, last = i < 64 ? 31 : 15;
        assert_int_equal((uint32_t)got[0][i], i < 64 ? 0xaaaaaaaau : 0xaaaau);
        assert_int_equal(got[1][i], 3);
        assert_int_equal(got[2][i], lane ^ 1);
        assert_int_equal(got[3][i], lane < 2 ? lane : lane - 2);
        if (lane + 2 <= last)
            assert_int_equal(got[4][i], lane + 2);
        assert_int_equal(got[5][i], 10);
        assert_int_equal(got[6][i], 0);
        assert_int_equal(got[7][i], 1);
    }
    beam_free(&be, out.data);
    beam_backend_close(&be);
}

#ifdef BEAM_TEST_SIMT
static void broken(void *context)
{
    beam_backend be;
    if (open_device(&be) == BEAM_OK)
        tile_broken(&be, *(const tile_mistake *)context);
}

static void test_mistakes(void **state)
{
    (void)state;
    tile_mistake mistakes[] = {TILE_MISSED_BARRIER, TILE_MISSED_LANE, TILE_NEVER_WAITED,
                               TILE_TOO_MUCH_SHARED};
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++)
        assert_true(test_stops(broken, &mistakes[i]));
}

/* A missing barrier shows as NaN of memory nobody wrote, in other places when the threads run backwards. */
static void test_race(void **state)
{
    (void)state;
    float got[2][64];
    for (int backwards = 0; backwards < 2; backwards++) {
        beam_backend be;
        beam_simt_backwards(backwards);
        assert_int_equal(open_device(&be), BEAM_OK);
        const beam_tensor out = beam_view(beam_alloc(&be, sizeof got[0], "race"), BEAM_F32, BEAM_DIMS(64));
        tile_race(&be, out);
        beam_download(&be, got[backwards], out);
        beam_free(&be, out.data);
        beam_backend_close(&be);
    }
    beam_simt_backwards(false);
    assert_memory_not_equal(got[0], got[1], sizeof got[0]);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16),     cmocka_unit_test(test_tf32), cmocka_unit_test(test_votes),
#ifdef BEAM_TEST_SIMT
        cmocka_unit_test(test_mistakes), cmocka_unit_test(test_race),
#endif
    };
#ifndef BEAM_TEST_SIMT
    if (beam_cuda_devices(NULL, 0) == 0) {
        printf("skipped: no CUDA device\n");
        return 77;
    }
#endif
    return cmocka_run_group_tests_name("ops.tile", tests, NULL, NULL);
}
