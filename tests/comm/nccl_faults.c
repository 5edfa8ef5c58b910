/* What is said when NCCL is missing or fails, against a library that plays it (fake_nccl.c). */
#include <stdlib.h>
#include <string.h>

#include "comm/ranks.h"
#include "data/cmocka_all.h"

static bool says(const char *part)
{
    return strstr(beam_last_error(), part) != NULL;
}

/* The first call is rank 0's, and a verdict tells the others; a failure to join stays with the rank that has
 * it. */
static void start_fails(void **state)
{
    test_ranks *t = *state;
    static const char *const call[] = {"ncclGetUniqueId", "ncclCommInitRank"};
    t->be.device_memory = true;
    t->be.stream = t;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(setenv("FAKE_NCCL_FAIL", call[i], 1), 0);
        bool right = beam_comm_attach(&t->comm, &t->be) == BEAM_ECOMM && says("rank 0: ") == (i == 0) &&
                     says(call[i]) && says("unhandled system error");
        right = right && t->comm.status == (i == 0 ? BEAM_OK : BEAM_ECOMM);
        t->comm.status = BEAM_OK; /* for the verdict of this test */
        assert_true(test_all(&t->comm, right));
        assert_string_equal(t->comm.ops->name, "mpi");
    }
    assert_int_equal(unsetenv("FAKE_NCCL_FAIL"), 0);
    assert_true(test_all(&t->comm, beam_comm_attach(&t->comm, &t->be) == BEAM_OK));
    assert_string_equal(t->comm.ops->name, "nccl");
}

static void exchange(beam_comm *c)
{
    float from[2] = {1, 2}, to[2] = {0};
    const int64_t one[2] = {1, 1};
    const beam_exchange x = {.from = beam_view(from, BEAM_F32, BEAM_DIMS(2)),
                             .to = beam_view(to, BEAM_F32, BEAM_DIMS(2)),
                             .from_count = one,
                             .to_count = one};
    beam_comm_start(c, 0, &x);
    beam_comm_finish(c, 0);
}

/* The first failure stays, and later calls do nothing. The test forgets it between faults. */
static void calls_fail(void **state)
{
    beam_comm *c = &((test_ranks *)*state)->comm;
    static const char *const call[] = {"ncclGroupEnd", "ncclCommGetAsyncError", "ncclBroadcast"};
    for (int i = 0; i < 3; i++) {
        float block[2] = {0};
        const int64_t one[2] = {1, 1};
        assert_int_equal(setenv("FAKE_NCCL_FAIL", call[i], 1), 0);
        if (i < 2)
            exchange(c);
        else
            beam_comm_all_gather(c, beam_view(block, BEAM_F32, BEAM_DIMS(2)), one);
        bool right = c->status == BEAM_ECOMM && says(i == 1 ? "unhandled system error" : call[i]);
        exchange(c);
        right = right && c->status == BEAM_ECOMM;
        c->status = BEAM_OK;
        c->busy[0] = false;
        assert_int_equal(unsetenv("FAKE_NCCL_FAIL"), 0);
        assert_true(test_all(c, right));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_fails),
        cmocka_unit_test(calls_fail),
    };
    return cmocka_run_group_tests(tests, test_ranks_open, test_ranks_close);
}
