/* A program's ranks, joined once for all its tests: the group's state. */
#ifndef BEAM_TESTS_COMM_RANKS_H
#define BEAM_TESTS_COMM_RANKS_H

#include "comm/comm.h"

typedef struct {
    beam_comm comm;
    beam_backend
        be; /* the CPU; with TEST_DEVICE_MEMORY in the environment it says its memory is a device's */
} test_ranks;

/* Group setup: joins, and attaches the backend. Group teardown: leaves. */
int test_ranks_open(void **state);
int test_ranks_close(void **state);

/* True on all ranks if it is on all. What a rank asserts alone would leave the others waiting in the next
 * call. */
bool test_all(beam_comm *c, bool mine);

#endif
