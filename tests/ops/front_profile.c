/* The front of the ops that look at experts: calls with wrong shapes stop the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/ops.h"
#include "support/stops.h"

typedef struct {
    beam_backend *be;
    int wrong; /* 0: the call is right; else another thing is wrong */
} attempt;

/* One token with two candidates of three experts, hidden size 2. */
static void peaks_attempt(void *context)
{
    const attempt *a = context;
    int32_t expert[2] = {0, 2}, pair[2] = {0, 1}, first[4] = {0, 1, 1, 2}, kept[3] = {1, 0, 1};
    uint8_t counted[1] = {1};
    float rows[4] = {0};
    double peak[3] = {0};
    const beam_route route = {.expert = beam_view(expert, BEAM_I32, BEAM_DIMS(1, 2)),
                              .pair = beam_view(pair, BEAM_I32, BEAM_DIMS(a->wrong == 1 ? 1 : 2)),
                              .first = beam_view(first, BEAM_I32, BEAM_DIMS(a->wrong == 2 ? 3 : 4)),
                              .kept = beam_view(kept, BEAM_I32, BEAM_DIMS(3))};
    beam_expert_peaks(a->be, beam_view(peak, BEAM_F64, BEAM_DIMS(a->wrong == 3 ? 2 : 3)),
                      beam_view(rows, BEAM_F32, BEAM_DIMS(a->wrong == 4 ? 1 : 2, 2)),
                      beam_view(a->wrong == 5 ? NULL : counted, BEAM_U8, BEAM_DIMS(1)), &route,
                      BEAM_ROWS_ALL);
}

static void test_wrong_calls_stop(void **state)
{
    (void)state;
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
    for (int wrong = 0; wrong <= 5; wrong++)
        assert_int_equal(test_stops(peaks_attempt, &(attempt){&be, wrong}), wrong != 0);
    beam_backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wrong_calls_stop)};
    return cmocka_run_group_tests_name("ops.front_profile", tests, NULL, NULL);
}
