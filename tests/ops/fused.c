/* Products of the experts that gather rows of tokens themselves and make the activation have the bits of
 * beam_route_gather, product and beam_swiglu one after the other. On the host shim, in float32 and bfloat16.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cuda/cuda.h"
#include "kernels/ops.h"
#include "ops/device_tensor.h"

enum { E = 3, D = 72, MOST = 600 /* pairs */ };

typedef struct {
    int64_t tokens, top_k;
    int dropped; /* one pair in so many is; 1: all are */
} shape;

static beam_route planned(beam_backend *be, shape s)
{
    static int32_t expert[MOST];
    static uint8_t keep[MOST];
    const int64_t T = s.tokens, K = s.top_k;
    const beam_route route = {.expert = device_tensor(be, BEAM_I32, BEAM_DIMS(T, K)),
                              .keep = device_tensor(be, BEAM_U8, BEAM_DIMS(T, K)),
                              .row = device_tensor(be, BEAM_I32, BEAM_DIMS(T, K)),
                              .pair = device_tensor(be, BEAM_I32, BEAM_DIMS(T * K)),
                              .first = device_tensor(be, BEAM_I32, BEAM_DIMS(E + 1)),
                              .kept = device_tensor(be, BEAM_I32, BEAM_DIMS(E))};
    assert_true(T * K <= MOST);
    for (int64_t i = 0; i < T * K; i++) {
        expert[i] = (int32_t)((i / K / 150 + i % K) % E); /* runs of tokens, so that tiles are full */
        keep[i] = i % s.dropped != 0;
    }
    beam_upload(be, route.expert, expert);
    beam_upload(be, route.keep, keep);
    beam_route_plan(be, &route);
    return route;
}

static void free_all(beam_backend *be, int n, const beam_tensor all[])
{
    for (int i = 0; i < n; i++)
        beam_free(be, all[i].data);
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

/* Room full of NaN, as is what nobody writes. */
static beam_tensor room(beam_backend *be, int64_t rows, int64_t columns)
{
    const beam_tensor x = device_tensor(be, be->real, BEAM_DIMS(rows, columns));
    char *host = malloc(beam_bytes(x));
    assert_non_null(host);
    memset(host, 0xff, beam_bytes(x));
    beam_upload(be, x, host);
    free(host);
    return x;
}

/* In one operation, with x, act or both of them, and in as many as it takes without. */
static void compare(beam_backend *be, shape s, int64_t width, bool tb, beam_rows_of rows)
{
    const int64_t R = s.tokens * s.top_k, N = 2 * width;
    const beam_route route = planned(be, s);
    const beam_tensor x = device_tensor_filled(be, 1, INT64_MAX, BEAM_DIMS(s.tokens, D));
    const beam_tensor b = device_tensor_filled(be, 2, INT64_MAX, BEAM_DIMS(E, tb ? N : D, tb ? D : N));
    const beam_grouped_product apart = {.c = room(be, R, N), .a = room(be, R, D), .b = b, .tb = tb};
    const beam_tensor act = room(be, R, width);
    beam_route_gather(be, apart.a, x, &route, rows);
    beam_grouped_gemm(be, &apart, &route, rows);
    beam_swiglu(be, act, apart.c, &route, rows);
    for (int what = 1; what <= 3; what++) {
        beam_grouped_product p = apart;
        p.c = room(be, R, N);
        if (what & 1) {
            p.x = x;
            p.a = room(be, R, D);
        }
        if (what & 2)
            p.act = room(be, R, width);
        beam_grouped_gemm(be, &p, &route, rows);
        expect_equal(be, p.c, apart.c);
        if (what & 2)
            expect_equal(be, p.act, act);
        free_all(be, 3, (beam_tensor[]){p.c, p.act, what & 1 ? p.a : (beam_tensor){0}});
    }
    free_all(be, 5, (beam_tensor[]){x, b, apart.c, apart.a, act});
    free_all(be, 6,
             (beam_tensor[]){route.expert, route.keep, route.row, route.pair, route.first, route.kept});
}

/* Widths: 72: tiles are cut in their columns; 20: the last group of gates has 4; 5: nothing is aligned. */
static void test_bits(void **state)
{
    const beam_dtype *real = *state;
    static const int64_t width[] = {72, 20, 5};
    static const shape shapes[] = {{300, 2, 3}, {300, 1, 7}, {40, 3, 1}, {1, 1, 2}};
    beam_backend be;
    assert_int_equal(beam_backend_simt(&be, *real), BEAM_OK);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (size_t j = 0; j < sizeof width / sizeof width[0]; j++)
            for (int tb = 0; tb < 2; tb++) {
                compare(&be, shapes[i], width[j], tb, BEAM_ROWS_KEPT);
                compare(&be, shapes[i], width[j], tb, BEAM_ROWS_DROPPED);
                compare(&be, shapes[i], width[j], tb, BEAM_ROWS_ALL);
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
