/* Products with weights as they are stored: against plain sums, and the same bits in any company. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bf16.h"
#include "kernels/decode/experts.h"
#include "kernels/ops.h"
#include "support/values.h"

enum { ROWS = 45, TOKENS = 70 };

static float *new_floats(int64_t n, const char *name)
{
    float *x = malloc((size_t)(n > 0 ? n : 1) * sizeof *x);
    assert_non_null(x);
    test_fill_normal(beam_view(x, BEAM_F32, BEAM_DIMS(n)), name, 1);
    return x;
}

/* A random matrix; its numbers as floats too. */
static beam_matrix new_matrix(beam_dtype type, int64_t rows, int64_t width, float **values)
{
    const int64_t n = rows * width;
    *values = new_floats(n, "weights");
    void *data = malloc((size_t)(n > 0 ? n : 1) * 4);
    assert_non_null(data);
    for (int64_t i = 0; i < n; i++)
        if (type == BEAM_BF16) {
            ((uint16_t *)data)[i] = beam_f32_to_bf16((*values)[i]);
            (*values)[i] = beam_bf16_to_f32(((uint16_t *)data)[i]);
        } else {
            ((float *)data)[i] = (*values)[i];
        }
    return (beam_matrix){.data = data, .type = type, .rows = rows, .width = width};
}

static void free_matrix(beam_matrix w, float *values)
{
    free((void *)(uintptr_t)w.data);
    free(values);
}

static void check_product(beam_dtype type, int64_t width)
{
    float *values, *x = new_floats(TOKENS * width, "x"), y[TOKENS * ROWS];
    const beam_matrix w = new_matrix(type, ROWS, width, &values);
    beam_thin_product(2, y, ROWS, w, x, width, TOKENS);
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t r = 0; r < ROWS; r++) {
            double sum = 0, size = 1;
            for (int64_t i = 0; i < width; i++) {
                sum += (double)values[r * width + i] * (double)x[t * width + i];
                size += fabs((double)values[r * width + i] * (double)x[t * width + i]);
            }
            if (!(fabs((double)y[t * ROWS + r] - sum) <= 1e-6 * size))
                fail_msg("width %lld, token %lld, row %lld: %g instead of %g", (long long)width, (long long)t,
                         (long long)r, (double)y[t * ROWS + r], sum);
        }
    free_matrix(w, values);
    free(x);
}

static void product_is_that_of_plain_sums(void **state)
{
    static const int64_t widths[] = {0, 1, 7, 8, 9, 16, 31, 64, 100, 333};
    (void)state;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        check_product(BEAM_F32, widths[i]);
        check_product(BEAM_BF16, widths[i]);
    }
}

/* Every token alone, and every row alone, gives the bits that all together give. */
static void check_company(beam_dtype type, int64_t width)
{
    float *values, *x = new_floats(TOKENS * width, "x"), all[TOKENS * ROWS], one[ROWS];
    const beam_matrix w = new_matrix(type, ROWS, width, &values);
    for (int threads = 1; threads <= 3; threads++)
        for (int64_t n = 1; n <= TOKENS; n += n < 12 ? 1 : 29) {
            beam_thin_product(threads, all, ROWS, w, x, width, n);
            for (int64_t t = 0; t < n; t++) {
                beam_thin_product(1, one, ROWS, w, x + t * width, width, 1);
                assert_memory_equal(one, all + t * ROWS, sizeof one);
            }
        }
    for (int64_t r = 0; r < ROWS; r++) {
        const float *in = x;
        float y;
        beam_thin_dots(&y, 1, beam_matrix_rows(w, r, 1), &in, 1);
        beam_thin_product(1, one, ROWS, w, x, width, 1);
        assert_memory_equal(&y, &one[r], sizeof y);
    }
    free_matrix(w, values);
    free(x);
}

static void bits_do_not_depend_on_company(void **state)
{
    (void)state;
    check_company(BEAM_F32, 100);
    check_company(BEAM_BF16, 100);
    check_company(BEAM_BF16, 13);
}

static void combine_is_a_weighted_sum_of_rows(void **state)
{
    enum { WIDTH = 21, STRIDE = 30 };
    static const beam_dtype types[] = {BEAM_F32, BEAM_BF16};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        float *values, *x = new_floats(ROWS, "x"), y[WIDTH];
        beam_matrix w = new_matrix(types[k], ROWS, STRIDE, &values);
        w.width = WIDTH;
        for (int64_t i = 0; i < WIDTH; i++)
            y[i] = 1;
        beam_thin_combine(y, w, STRIDE, x);
        for (int64_t i = 0; i < WIDTH; i++) {
            double sum = 1;
            for (int64_t r = 0; r < ROWS; r++)
                sum += (double)x[r] * (double)values[r * STRIDE + i];
            assert_true(fabs((double)y[i] - sum) <= 1e-5);
        }
        free_matrix(w, values);
        free(x);
    }
}

/* One expert by the list against a plain formula, for widths around the groups of the interleaving. */
static void check_expert(int64_t width, int64_t tokens)
{
    enum { D = 24 };
    float *up_values, *down_values, *x = new_floats(tokens * D, "x"),
                                    *act = new_floats(tokens * width, "act"),
                                    *out = new_floats(tokens * D, "out");
    const beam_matrix gate_up = new_matrix(BEAM_BF16, 2 * width, D, &up_values);
    const beam_matrix down = new_matrix(BEAM_BF16, D, width, &down_values);
    const float **in = malloc((size_t)tokens * sizeof *in);
    assert_non_null(in);
    for (int64_t t = 0; t < tokens; t++)
        in[t] = x + t * D;
    beam_expert_work work = {
        .gate_up = gate_up, .down = down, .tokens = tokens, .x = in, .act = act, .out = out};
    beam_experts_run(2, &work, 1);
    for (int64_t t = 0; t < tokens; t++) {
        double sum[D] = {0}, size = 1;
        for (int64_t f = 0; f < width; f++) {
            double gate = 0, up = 0;
            for (int64_t i = 0; i < D; i++) {
                const double v = (double)x[t * D + i];
                gate += v * (double)up_values[beam_interleave_row(f, 0, width) * D + i];
                up += v * (double)up_values[beam_interleave_row(f, 1, width) * D + i];
            }
            const double a = gate / (1 + exp(-gate)) * up;
            size += fabs(a);
            for (int64_t i = 0; i < D; i++)
                sum[i] += a * (double)down_values[i * width + f];
        }
        for (int64_t i = 0; i < D; i++)
            assert_true(fabs((double)out[t * D + i] - sum[i]) <= 1e-5 * size);
    }
    free_matrix(gate_up, up_values);
    free_matrix(down, down_values);
    free(in);
    free(x);
    free(act);
    free(out);
}

static void expert_is_the_plain_formula(void **state)
{
    (void)state;
    for (int64_t width = 1; width <= 41; width += 4)
        check_expert(width, width % 3 == 0 ? 33 : 2);
    check_expert(300, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(product_is_that_of_plain_sums),
        cmocka_unit_test(bits_do_not_depend_on_company),
        cmocka_unit_test(combine_is_a_weighted_sum_of_rows),
        cmocka_unit_test(expert_is_the_plain_formula),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
