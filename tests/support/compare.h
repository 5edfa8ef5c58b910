/* Whether two tensors agree, with a panel of numbers on stderr when they do not. */
#ifndef BEAM_TESTS_SUPPORT_COMPARE_H
#define BEAM_TESTS_SUPPORT_COMPARE_H

#include "core/tensor.h"

/* How two tensors of one shape differ over the elements that are finite in both. */
typedef struct {
    int64_t first_special; /* first element where only one side is NaN, or inf of that sign; -1 if none */
    int64_t first;         /* first element beyond the tolerance; -1 if none */
    int64_t beyond;        /* how many are */
    double max_abs;        /* largest |got - want| */
    double largest;        /* largest |want| */
    double relative_l2;    /* |got - want| / |want| in the Euclidean norm; 0 when both are 0 */
} test_difference;

/* Measures the difference; an element is beyond when !(|got - want| <= tolerance * max(largest, floor)). */
test_difference test_compare(beam_tensor got, beam_tensor want, double tolerance, double floor);

/* True when NaN and inf stand at the same places and nothing is beyond the tolerance. Host tensors of one
 * shape, any dtypes. With floor = 0, where everything wanted is 0, exactly 0 is asked for. */
bool test_close(const char *what, beam_tensor got, beam_tensor want, double tolerance, double floor);

/* True when both hold the same bytes. */
bool test_same(const char *what, beam_tensor got, beam_tensor want);

#endif
