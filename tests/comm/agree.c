/* What ranks say when they differ or fail. Run with 1, 2 and 3 ranks. */
#include <stdio.h>
#include <string.h>

#include "comm/ranks.h"
#include "data/cmocka_all.h"

static bool says(const char *want)
{
    const bool same = strcmp(beam_last_error(), want) == 0;
    if (!same)
        fprintf(stderr, "\"%s\"\nwanted\n\"%s\"\n", beam_last_error(), want);
    return same;
}

static void agreement(void **state)
{
    beam_comm *c = &((test_ranks *)*state)->comm;
    assert_true(test_all(c, beam_comm_agree(c, "the seed", 42) == BEAM_OK));
    const beam_status s = beam_comm_agree(c, "the configuration", c->rank == 1 ? 0xabcdef : 0x12);
    static const char *const want[] = {
        "", "", "the ranks differ in the configuration: rank 0 holds 0x12, rank 1 holds 0xabcdef",
        "the ranks differ in the configuration: ranks 0 and 2 hold 0x12, rank 1 holds 0xabcdef"};
    assert_true(test_all(c, c->size == 1 ? s == BEAM_OK : s == BEAM_ECOMM && says(want[c->size])));
    assert_int_equal(c->status, BEAM_OK); /* they differ, but still hear each other */
}

static void verdicts(void **state)
{
    beam_comm *c = &((test_ranks *)*state)->comm;
    assert_true(test_all(c, beam_comm_verdict(c, BEAM_OK) == BEAM_OK));

    /* All but rank 0 fail, each in its way: what the lowest says counts. */
    beam_status mine = BEAM_OK;
    if (c->rank > 0)
        mine = BEAM_FAIL(c->rank == 1 ? BEAM_EDATA : BEAM_EIO, "shard-%d.h5: not there", c->rank);
    const beam_status s = beam_comm_verdict(c, mine);
    assert_true(
        test_all(c, c->size == 1 ? s == BEAM_OK : s == BEAM_EDATA && says("rank 1: shard-1.h5: not there")));

    char text[1000]; /* more than travels */
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    mine = c->rank + 1 == c->size ? BEAM_FAIL(BEAM_EMODEL, "%s", text) : BEAM_OK;
    const beam_status cut = beam_comm_verdict(c, mine);
    assert_true(test_all(c, cut == BEAM_EMODEL && strlen(beam_last_error()) > 500));
}

/* The library on the path is an empty file: every rank says so, and goes on speaking over MPI. */
static void no_nccl(void **state)
{
    test_ranks *t = *state;
    t->be.device_memory = true;
    const beam_status s = beam_comm_attach(&t->comm, &t->be);
    t->be.device_memory = false;
    if (t->comm.size == 1)
        assert_int_equal(s, BEAM_OK); /* nobody to speak to */
    else
        assert_true(
            test_all(&t->comm, s == BEAM_ECOMM && strstr(beam_last_error(), "rank 0: several GPUs need")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agreement),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(no_nccl),
    };
    return cmocka_run_group_tests(tests, test_ranks_open, test_ranks_close);
}
