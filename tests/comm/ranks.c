#include "comm/ranks.h"

#include <stdlib.h>

int test_ranks_open(void **state)
{
    test_ranks *t = calloc(1, sizeof *t);
    if (!t || beam_comm_open(&t->comm) || beam_backend_cpu(&t->be, 1))
        return -1;
    if (getenv("TEST_DEVICE_MEMORY")) {
        t->be.device_memory = true;
        t->be.stream = t;
    }
    *state = t;
    return beam_comm_attach(&t->comm, &t->be) ? -1 : 0;
}

int test_ranks_close(void **state)
{
    test_ranks *t = *state;
    beam_comm_close(&t->comm);
    beam_backend_close(&t->be);
    free(t);
    return 0;
}

bool test_all(beam_comm *c, bool mine)
{
    bool all[64] = {false}, every = true;
    beam_comm_host_gather(c, &mine, all, sizeof mine);
    for (int r = 0; r < c->size; r++)
        every = every && all[r];
    return every && !c->status;
}
