/* Whether backward is the derivative of forward: every op of the table with a backward, in double, against
 * finite differences of <seed, output>, summed over the outputs that have a seed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/cases.h"
#include "support/differences.h"
#include "support/values.h"

/* Relative to the largest derivative of the tensor, or to shape.floor if that is larger. The worst case
 * measured is 6e-10. */
static const double tolerance = 1e-8, step = 1e-3;

enum { MOST_ELEMENTS = 60 }; /* of one tensor that are checked; larger ones are sampled evenly */

typedef struct {
    op_fixture *f;
    char *image;       /* results of the last run */
    const char *plain; /* results with nothing moved */
    int slot;          /* the variable that moves */
    int64_t element;
} probe;

static double functional(const op_fixture *f, char *image)
{
    double sum = 0;
    for (int i = 0; i < OP_SLOTS; i++) {
        if (!f->slot[i].name || f->slot[i].role != OP_SEED)
            continue;
        const beam_tensor out = op_in(f, f->slot[i].of, image), seed = f->slot[i].host;
        for (int64_t k = 0; k < beam_count(out); k++)
            if (!test_untouched(seed, k))
                sum += test_get(seed, k) * test_get(out, k);
    }
    return sum;
}

/* A step that moves a choice (an expert, a kept pair) makes the difference meaningless: the case's inputs
 * must keep their distance from such points. */
static void same_choices(const probe *p)
{
    for (int i = 0; i < OP_SLOTS; i++) {
        const op_slot *s = &p->f->slot[i];
        if (!s->name || s->role != OP_OUTPUT || s->host.dtype == p->f->be->real)
            continue;
        const size_t at = (size_t)((const char *)s->host.data - p->f->host.bytes);
        if (memcmp(p->image + at, p->plain + at, beam_bytes(s->host)) != 0)
            fail_msg("%s: a step of %g in %s changed %s", p->f->what->name, step, p->f->slot[p->slot].name,
                     s->name);
    }
}

static double moved(void *context, double x)
{
    const probe *p = context;
    const beam_tensor variable = p->f->slot[p->slot].host;
    const double before = test_get(variable, p->element);
    test_set(variable, p->element, x);
    op_reset(p->f);
    p->f->what->op->run(p->f);
    op_results(p->f, p->image);
    test_set(variable, p->element, before);
    same_choices(p);
    return functional(p->f, p->image);
}

/* What back added to the initial value; an element that it did not write counts as 0 (masked pairs). */
static double analytic(const op_fixture *f, int slot, int64_t i, char *plain)
{
    const beam_tensor gradient = op_in(f, slot, plain);
    if (test_untouched(gradient, i))
        return 0;
    const double carry = f->slot[slot].carry;
    return test_get(gradient, i) - (carry != 0 ? carry * test_get(f->slot[slot].host, i) : 0);
}

static void check_gradient(op_fixture *f, int slot, char *plain, char *image)
{
    probe p = {.f = f, .image = image, .plain = plain, .slot = f->slot[slot].of};
    const beam_tensor x = f->slot[p.slot].host;
    const int64_t n = beam_count(x), stride = n / MOST_ELEMENTS + 1;
    double worst = 0, largest = f->shape.floor;
    int64_t worst_at = 0;
    for (p.element = 0; p.element < n; p.element += stride) {
        const double a = analytic(f, slot, p.element, plain);
        if (test_untouched(x, p.element)) {
            assert_true(a == 0);
            continue;
        }
        const double d = test_derivative(moved, &p, test_get(x, p.element), step);
        largest = fmax(largest, fabs(d));
        if (!(fabs(a - d) <= worst)) {
            worst = fabs(a - d);
            worst_at = p.element;
        }
        if (isnan(worst))
            break;
    }
    if (getenv("BEAM_TEST_VERBOSE"))
        printf("%-40s %-12s %.1e\n", f->what->name, f->slot[slot].name, worst / largest);
    if (!(worst <= tolerance * largest))
        fail_msg("%s: %s is off by %.3g of %.3g, worst at element %lld, where it is %.9g", f->what->name,
                 f->slot[slot].name, worst, largest, (long long)worst_at, analytic(f, slot, worst_at, plain));
}

static void test_gradients(void **state)
{
    const op_case *what = *state;
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
    assert_int_equal(be.real, BEAM_F64);
    op_fixture f;
    op_open(&f, what, &be);
    char *plain = malloc(f.host.size), *image = malloc(f.host.size);
    assert_true(plain && image && beam_sync(&be) == BEAM_OK);
    what->op->run(&f);
    what->op->back(&f);
    op_results(&f, plain);
    int checked = 0;
    for (int i = 0; i < OP_SLOTS; i++)
        if (f.slot[i].name && f.slot[i].role == OP_GRADIENT) {
            check_gradient(&f, i, plain, image);
            checked++;
        }
    assert_true(checked > 0 || (what->shape.options & OP_WITHOUT));
    free(plain);
    free(image);
    op_close(&f);
    beam_backend_close(&be);
}

int main(void)
{
    struct CMUnitTest *tests = calloc((size_t)op_case_count, sizeof *tests);
    size_t n = 0;
    for (int i = 0; tests && i < op_case_count; i++)
        if (op_cases[i].op->back && !(op_cases[i].shape.options & OP_NOT_SMOOTH))
            tests[n++] = (struct CMUnitTest){
                .name = op_cases[i].name, .test_func = test_gradients, .initial_state = (void *)&op_cases[i]};
    const int failed = tests ? _cmocka_run_group_tests("ops.gradients", tests, n, NULL, NULL) : 1;
    free(tests);
    return failed;
}
