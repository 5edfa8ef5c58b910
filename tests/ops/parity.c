/* Every op of the table: the CPU backend against the reference, and against itself with other numbers of
 * threads, bit for bit. Built twice, with the float kernels and with the double ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/pass.h"
#include "ops/reference.h"

/* In double the kernels and the reference differ by the order of sums and the last bits of exp only. */
static const double tolerance_f64 = 2e-13;

static char *pass(op_fixture *f, const op_case *what, beam_backend *be)
{
    op_open(f, what, be);
    char *image = op_pass(f);
    assert_int_equal(beam_sync(be), BEAM_OK);
    assert_true(op_unharmed(f, image));
    return image;
}

static void test_parity(void **state)
{
    const op_case *what = *state;
    beam_backend reference = reference_backend(), cpu;
    assert_int_equal(beam_backend_cpu(&cpu, 1), BEAM_OK);
    op_fixture expected, single;
    char *want = pass(&expected, what, &reference), *got = pass(&single, what, &cpu);
    const double tolerance = cpu.real == BEAM_F64 && what->tol_f32 > 0 ? tolerance_f64 : what->tol_f32;
    assert_true(op_agree(&single, got, &expected, want, tolerance));
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
