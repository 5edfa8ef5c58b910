#include "support/compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/status.h"
#include "support/values.h"

/* NaN meets NaN, inf meets inf of the same sign, finite meets finite. */
static bool same_kind(double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (isinf(a) || isinf(b))
        return a == b;
    return true;
}

test_difference test_compare(beam_tensor got, beam_tensor want, double tolerance, double floor)
{
    BEAM_ASSERT(beam_same_shape(got, want));
    test_difference d = {.first_special = -1, .first = -1};
    double error2 = 0, want2 = 0;
    for (int64_t i = 0; i < beam_count(want); i++) {
        const double a = test_get(got, i), b = test_get(want, i);
        if (!same_kind(a, b) && d.first_special < 0)
            d.first_special = i;
        if (!isfinite(a) || !isfinite(b))
            continue;
        d.largest = fmax(d.largest, fabs(b));
        d.max_abs = fmax(d.max_abs, fabs(a - b));
        error2 += (a - b) * (a - b);
        want2 += b * b;
    }
    const double limit = tolerance * fmax(d.largest, floor);
    d.relative_l2 = error2 > 0 ? sqrt(error2 / want2) : 0;
    for (int64_t i = 0; i < beam_count(want); i++) {
        const double a = test_get(got, i), b = test_get(want, i);
        if (!isfinite(a) || !isfinite(b) || fabs(a - b) <= limit)
            continue;
        d.first = d.first < 0 ? i : d.first;
        d.beyond++;
    }
    return d;
}

/* "[2,5]" for element i of t. */
static void print_place(beam_tensor t, int64_t i)
{
    int64_t place[BEAM_MAX_DIM] = {0};
    for (int d = t.ndim - 1; d >= 0; d--) {
        place[d] = i % t.dim[d];
        i /= t.dim[d];
    }
    fprintf(stderr, "[");
    for (int d = 0; d < t.ndim; d++)
        fprintf(stderr, "%s%" PRId64, d ? "," : "", place[d]);
    fprintf(stderr, "]");
}

static void print_element(beam_tensor got, beam_tensor want, int64_t i)
{
    print_place(want, i);
    fprintf(stderr, ": got %.9g, wanted %.9g\n", test_get(got, i), test_get(want, i));
}

bool test_close(const char *what, beam_tensor got, beam_tensor want, double tolerance, double floor)
{
    const test_difference d = test_compare(got, want, tolerance, floor);
    if (d.first_special >= 0) {
        fprintf(stderr, "%s: NaN or inf on one side only, first at ", what);
        print_element(got, want, d.first_special);
        return false;
    }
    if (d.first < 0)
        return true;
    fprintf(stderr, "%s (%s): %" PRId64 " of %" PRId64 " elements off by more than %.3g\n", what,
            beam_dtype_name(got.dtype), d.beyond, beam_count(want), tolerance * fmax(d.largest, floor));
    fprintf(stderr, "  max abs %.3g, largest wanted %.3g, relative L2 %.3g\n  first at ", d.max_abs,
            d.largest, d.relative_l2);
    print_element(got, want, d.first);
    return false;
}

bool test_same(const char *what, beam_tensor got, beam_tensor want)
{
    BEAM_ASSERT(got.dtype == want.dtype && beam_same_shape(got, want));
    const size_t size = beam_dtype_size(got.dtype);
    for (int64_t i = 0; i < beam_count(got); i++) {
        const size_t at = (size_t)i * size;
        if (memcmp((const char *)got.data + at, (const char *)want.data + at, size) == 0)
            continue;
        fprintf(stderr, "%s: not the same bytes, first at ", what);
        print_element(got, want, i);
        return false;
    }
    return true;
}
