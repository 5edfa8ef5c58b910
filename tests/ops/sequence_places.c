/* The table of packed sequences that cuDNN reads, on the host shim: with an empty sequence, and slots that no
 * sequence fills. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/cudnn.h"
#include "kernels/ops.h"

enum { SEQUENCES = 3, SLOTS = 4 };

static void places_and_lengths(void **state)
{
    (void)state;
    static const int32_t first[] = {0, 3, 3, 10}, length[SLOTS] = {3, 0, 7, 0};
    static const int64_t row[BEAM_SEQUENCE_TENSORS] = {4096, 512, 1, 6, INT64_C(1) << 31};
    int64_t at[BEAM_SEQUENCE_TENSORS][SLOTS + 1];
    int32_t found[SLOTS];
    memset(at, 0xff, sizeof at);
    memset(found, 0xff, sizeof found);
    beam_backend be;
    assert_int_equal(beam_backend_simt(&be, BEAM_BF16), BEAM_OK);
    beam_tensor bounds = beam_view(NULL, BEAM_I32, 1, (const int64_t[]){SEQUENCES + 1});
    bounds.data = beam_alloc(&be, sizeof first, "a test's tensor");
    assert_non_null(bounds.data);
    beam_upload(&be, bounds, first);
    beam_sequence_places to = {.length = found, .slots = SLOTS}; /* the simulated device's memory is ours */
    for (int j = 0; j < BEAM_SEQUENCE_TENSORS; j++) {
        to.at[j] = at[j];
        to.row[j] = row[j];
    }
    beam_cuda_sequence_places(&be, to, (beam_sequences){.first = bounds, .n = SEQUENCES});
    assert_int_equal(beam_sync(&be), BEAM_OK);
    for (int j = 0; j < BEAM_SEQUENCE_TENSORS; j++)
        for (int i = 0; i <= SLOTS; i++)
            assert_true(at[j][i] == first[i < SEQUENCES ? i : SEQUENCES] * row[j]);
    assert_memory_equal(found, length, sizeof length);
    beam_free(&be, bounds.data);
    beam_backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(places_and_lengths)};
    return cmocka_run_group_tests_name("ops.sequence_places", tests, NULL, NULL);
}
