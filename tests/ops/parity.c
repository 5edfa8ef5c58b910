/* Every op of the table: the CPU backend against the reference, and against itself with other numbers of
 * threads, bit for bit. Built twice, with the float kernels and with the double ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/cases.h"
#include "ops/reference.h"
#include "support/compare.h"

/* In double the kernels and the reference differ by the order of sums and the last bits of exp only. */
static const double tolerance_f64 = 2e-13;

/* One pass through a case, forward and backward. Returns the image of the results, the caller's to free. */
static char *pass(op_fixture *f, const op_case *what, beam_backend *be)
{
    op_open(f, what, be);
    char *image = malloc(f->host.size);
    assert_non_null(image);
    what->op->run(f);
    if (what->op->back)
        what->op->back(f);
    op_results(f, image);
    assert_int_equal(beam_sync(be), BEAM_OK);
    assert_true(op_unharmed(f, image));
    return image;
}

static void compare(const op_fixture *got, char *got_image, const op_fixture *want, char *want_image)
{
    const op_case *what = got->what;
    const double tolerance = got->be->real == BEAM_F64 && what->tol_f32 > 0 ? tolerance_f64 : what->tol_f32;
    bool ok = true;
    for (int i = 0; i < OP_SLOTS; i++) {
        const op_slot *s = &got->slot[i];
        if (!s->name || (s->role != OP_OUTPUT && s->role != OP_GRADIENT && s->role != OP_RESULT))
            continue;
        const beam_tensor a = op_in(got, i, got_image), b = op_in(want, i, want_image);
        char title[128];
        snprintf(title, sizeof title, "%s: %s", what->name, s->name);
        if (getenv("BEAM_TEST_VERBOSE") && s->host.dtype == got->be->real) {
            const test_difference d = test_compare(a, b, tolerance, what->shape.floor);
            printf("%-60s %.1e\n", title, d.max_abs / fmax(d.largest, what->shape.floor));
        }
        const bool exact = s->host.dtype == BEAM_I32 || s->host.dtype == BEAM_U8;
        ok = test_close(title, a, b, exact ? 0 : tolerance, what->shape.floor) && ok;
        for (int64_t k = 0; k < beam_count(a); k++)
            ok = ok && test_untouched(a, k) == test_untouched(b, k);
    }
    assert_true(ok);
}

static void test_parity(void **state)
{
    const op_case *what = *state;
    beam_backend reference = reference_backend(), cpu;
    assert_int_equal(beam_backend_cpu(&cpu, 1), BEAM_OK);
    op_fixture expected, single;
    char *want = pass(&expected, what, &reference), *got = pass(&single, what, &cpu);
    compare(&single, got, &expected, want);
    for (int threads = 2; threads <= 3; threads++) {
        beam_backend more;
        assert_int_equal(beam_backend_cpu(&more, threads), BEAM_OK);
        op_fixture f;
        char *image = pass(&f, what, &more);
        assert_memory_equal(image, got, single.host.size);
        free(image);
        op_close(&f);
        beam_backend_close(&more);
    }
    free(want);
    free(got);
    op_close(&expected);
    op_close(&single);
    beam_backend_close(&cpu);
}

int main(void)
{
    struct CMUnitTest *tests = calloc((size_t)op_case_count, sizeof *tests);
    for (int i = 0; tests && i < op_case_count; i++)
        tests[i] = (struct CMUnitTest){
            .name = op_cases[i].name, .test_func = test_parity, .initial_state = (void *)&op_cases[i]};
    const int failed =
        tests ? _cmocka_run_group_tests("ops.parity", tests, (size_t)op_case_count, NULL, NULL) : 1;
    free(tests);
    return failed;
}
