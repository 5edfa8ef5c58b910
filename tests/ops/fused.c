/* Products of the experts that gather rows of tokens themselves and make the activation have the bits of
 * beam_route_gather, product and beam_swiglu one after the other. On the host shim, in float32 and bfloat16.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bf16.h"
#include "core/rng.h"
#include "kernels/cuda/cuda.h"
#include "kernels/ops.h"

enum { T = 170, K = 2, E = 3, D = 72, R = T * K };

static beam_tensor make(beam_backend *be, beam_dtype t, int ndim, const int64_t dim[])
{
    beam_tensor x = beam_view(NULL, t, ndim, dim);
    x.data = beam_alloc(be, beam_bytes(x), "a test's tensor");
    assert_non_null(x.data);
    beam_zero(be, x);
    return x;
}

static beam_tensor filled(beam_backend *be, uint64_t stream, int ndim, const int64_t dim[])
{
    beam_tensor x = make(be, be->real, ndim, dim);
    char *host = malloc(beam_bytes(x));
    assert_non_null(host);
    for (int64_t i = 0; i < beam_count(x); i++) {
        const float v = (float)beam_random_normal(7, stream, (uint64_t)i);
        const uint16_t half = beam_f32_to_bf16(v);
        if (be->real == BEAM_BF16)
            memcpy(host + 2 * i, &half, sizeof half);
        else
            memcpy(host + 4 * i, &v, sizeof v);
    }
    beam_upload(be, x, host);
    free(host);
    return x;
}

/* Every token goes to two of the three experts, and every third pair is dropped. */
static beam_route planned(beam_backend *be)
{
    int32_t expert[R];
    uint8_t keep[R];
    const beam_route route = {.expert = make(be, BEAM_I32, BEAM_DIMS(T, K)),
                              .keep = make(be, BEAM_U8, BEAM_DIMS(T, K)),
                              .row = make(be, BEAM_I32, BEAM_DIMS(T, K)),
                              .pair = make(be, BEAM_I32, BEAM_DIMS(R)),
                              .first = make(be, BEAM_I32, BEAM_DIMS(E + 1)),
                              .kept = make(be, BEAM_I32, BEAM_DIMS(E))};
    for (int i = 0; i < R; i++) {
        expert[i] = (i / K + i / K / 7 + i % K) % E;
        keep[i] = i % 3 != 0;
    }
    beam_upload(be, route.expert, expert);
    beam_upload(be, route.keep, keep);
    beam_route_plan(be, &route);
    return route;
}

static void free_route(beam_backend *be, const beam_route *route)
{
    beam_free(be, route->expert.data);
    beam_free(be, route->keep.data);
    beam_free(be, route->row.data);
    beam_free(be, route->pair.data);
    beam_free(be, route->first.data);
    beam_free(be, route->kept.data);
}

static void expect_equal(beam_backend *be, beam_tensor a, beam_tensor b)
{
    char *x = malloc(beam_bytes(a)), *y = malloc(beam_bytes(b));
    assert_true(x && y);
    beam_download(be, x, a);
    beam_download(be, y, b);
    assert_int_equal(beam_sync(be), BEAM_OK);
    assert_memory_equal(x, y, beam_bytes(a));
    free(x);
    free(y);
}

static void compare(beam_backend *be, int64_t width, beam_rows_of rows)
{
    const beam_route route = planned(be);
    const beam_tensor x = filled(be, 1, BEAM_DIMS(T, D)), b = filled(be, 2, BEAM_DIMS(E, 2 * width, D));
    beam_grouped_product apart = {.c = make(be, be->real, BEAM_DIMS(R, 2 * width)),
                                  .a = make(be, be->real, BEAM_DIMS(R, D)),
                                  .b = b,
                                  .tb = true},
                         fused = apart;
    const beam_tensor act = make(be, be->real, BEAM_DIMS(R, width));
    beam_route_gather(be, apart.a, x, &route, rows);
    beam_grouped_gemm(be, &apart, &route, rows);
    beam_swiglu(be, act, apart.c, &route, rows);
    fused.x = x;
    fused.a = make(be, be->real, BEAM_DIMS(R, D));
    fused.c = make(be, be->real, BEAM_DIMS(R, 2 * width));
    fused.act = make(be, be->real, BEAM_DIMS(R, width));
    beam_grouped_gemm(be, &fused, &route, rows);
    expect_equal(be, fused.c, apart.c);
    expect_equal(be, fused.act, act);
    const beam_tensor all[] = {x, b, apart.c, apart.a, act, fused.c, fused.a, fused.act};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        beam_free(be, all[i].data);
    free_route(be, &route);
}

/* 72: tiles of the product are cut in rows and columns; 20: the last group of gates has 4; 5: nothing is
 * aligned. */
static void test_bits(void **state)
{
    const beam_dtype *real = *state;
    static const int64_t width[] = {72, 20, 5};
    beam_backend be;
    assert_int_equal(beam_backend_simt(&be, *real), BEAM_OK);
    for (size_t i = 0; i < sizeof width / sizeof width[0]; i++) {
        compare(&be, width[i], BEAM_ROWS_KEPT);
        compare(&be, width[i], BEAM_ROWS_DROPPED);
        compare(&be, width[i], BEAM_ROWS_ALL);
    }
    beam_backend_close(&be);
}

int main(void)
{
    beam_dtype f32 = BEAM_F32, bf16 = BEAM_BF16;
    const struct CMUnitTest tests[] = {
        {.name = "float32", .test_func = test_bits, .initial_state = &f32},
        {.name = "bfloat16", .test_func = test_bits, .initial_state = &bf16},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
