/* core/arena.h: what is measured is what is used, tensors are aligned and do not overlap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/arena.h"
#include "support/stops.h"

enum { N = 5 };

/* Odd sizes, an empty tensor, and a scratch region that is given back. */
static void layout(beam_arena *a, beam_tensor t[N])
{
    t[0] = beam_push(a, BEAM_F32, BEAM_DIMS(3, 5));
    t[1] = beam_push(a, BEAM_U8, BEAM_DIMS(1));
    const size_t mark = beam_mark(a);
    t[2] = beam_push(a, BEAM_F64, BEAM_DIMS(100));
    beam_release(a, mark);
    t[3] = beam_push(a, BEAM_BF16, BEAM_DIMS(33));
    t[4] = beam_push(a, BEAM_I32, BEAM_DIMS(0));
}

static void test_measure_then_place(void **state)
{
    (void)state;
    beam_tensor t[N];
    beam_arena a = beam_arena_measure();
    layout(&a, t);
    for (int i = 0; i < N; i++)
        assert_null(t[i].data);
    const size_t peak = a.peak, used = a.used;
    assert_int_equal(peak, 64 + 64 + 832); /* while the scratch tensor lived */
    assert_int_equal(used, 64 + 64 + 128);
    char *block = aligned_alloc(BEAM_ALIGN, peak);
    assert_non_null(block);
    a = beam_arena_over(block, peak);
    layout(&a, t);
    assert_int_equal(a.peak, peak);
    assert_int_equal(a.used, used);
    for (int i = 0; i < N; i++) {
        const char *at = t[i].data;
        assert_int_equal((uintptr_t)at % BEAM_ALIGN, 0);
        assert_true(at >= block && at + beam_bytes(t[i]) <= block + peak);
    }
    assert_true((char *)t[1].data >= (char *)t[0].data + beam_bytes(t[0]));
    assert_ptr_equal(t[2].data, t[3].data); /* the released place is used again */
    free(block);
}

static void push_too_much(void *a)
{
    beam_push(a, BEAM_U8, BEAM_DIMS(65));
}

static void release_ahead(void *a)
{
    beam_release(a, 64);
}

static void misaligned(void *block)
{
    beam_arena_over((char *)block + 8, 64);
}

static void test_contracts(void **state)
{
    (void)state;
    char *block = aligned_alloc(BEAM_ALIGN, 64);
    assert_non_null(block);
    beam_arena a = beam_arena_over(block, 64);
    assert_true(test_stops(push_too_much, &a));
    assert_true(test_stops(release_ahead, &a));
    assert_true(test_stops(misaligned, block));
    beam_push(&a, BEAM_U8, BEAM_DIMS(64)); /* exactly full is fine */
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measure_then_place),
        cmocka_unit_test(test_contracts),
    };
    return cmocka_run_group_tests_name("unit.core_arena", tests, NULL, NULL);
}
