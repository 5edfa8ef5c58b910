/* A row of the experts' products has the same bits wherever it stands: at the start of an expert or in the
 * middle of a tile, among kept or dropped rows. Two experts share one weight here, so that only the place can
 * make a difference. On the host shim, in float32 and bfloat16. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cuda/cuda.h"
#include "kernels/ops.h"
#include "ops/device_tensor.h"

enum { ROWS = 150, INNER = 72, COLUMNS = 136, EXPERTS = 2 };

/* The product with `first_rows` rows for the first expert, and of both a third kept. */
static char *product(beam_backend *be, beam_tensor a, beam_tensor b, int32_t first_rows, bool tb)
{
    const int32_t first[] = {0, first_rows, ROWS}, kept[] = {first_rows / 3, (ROWS - first_rows) / 3};
    beam_route route = {.first = device_tensor(be, BEAM_I32, 1, (int64_t[]){EXPERTS + 1}),
                        .kept = device_tensor(be, BEAM_I32, 1, (int64_t[]){EXPERTS})};
    beam_tensor c = device_tensor(be, be->real, 2, (int64_t[]){ROWS, COLUMNS});
    char *host = malloc(beam_bytes(c));
    assert_non_null(host);
    beam_upload(be, route.first, first);
    beam_upload(be, route.kept, kept);
    beam_grouped_gemm(be, &(beam_grouped_product){.c = c, .a = a, .b = b, .tb = tb}, &route, BEAM_ROWS_KEPT);
    beam_grouped_gemm(be, &(beam_grouped_product){.c = c, .a = a, .b = b, .tb = tb}, &route,
                      BEAM_ROWS_DROPPED);
    beam_download(be, host, c);
    beam_grouped_gemm(be, &(beam_grouped_product){.c = c, .a = a, .b = b, .tb = tb}, &route, BEAM_ROWS_ALL);
    char *together = malloc(beam_bytes(c));
    assert_non_null(together);
    beam_download(be, together, c);
    assert_int_equal(beam_sync(be), BEAM_OK);
    assert_memory_equal(host, together, beam_bytes(c));
    free(together);
    beam_free(be, route.first.data);
    beam_free(be, route.kept.data);
    beam_free(be, c.data);
    return host;
}

static void same_bits(beam_dtype real, bool tb)
{
    beam_backend be;
    assert_int_equal(beam_backend_simt(&be, real), BEAM_OK);
    const int64_t weight = (int64_t)INNER * COLUMNS;
    const beam_tensor a = device_tensor_filled(&be, 1, ROWS * INNER, 2, (int64_t[]){ROWS, INNER});
    const beam_tensor b = device_tensor_filled(
        &be, 2, weight, 3, (int64_t[]){EXPERTS, tb ? COLUMNS : INNER, tb ? INNER : COLUMNS});
    const size_t bytes = ROWS * COLUMNS * beam_dtype_size(real);
    static const int32_t others[] = {1, 37, 128, 149, 150};
    char *alone = product(&be, a, b, 0, tb);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char *moved = product(&be, a, b, others[i], tb);
        assert_memory_equal(moved, alone, bytes);
        free(moved);
    }
    free(alone);
    beam_free(&be, a.data);
    beam_free(&be, b.data);
    beam_backend_close(&be);
}

static void test_f32(void **state)
{
    (void)state;
    same_bits(BEAM_F32, false);
    same_bits(BEAM_F32, true);
}

static void test_bf16(void **state)
{
    (void)state;
    same_bits(BEAM_BF16, false);
    same_bits(BEAM_BF16, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32), cmocka_unit_test(test_bf16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
