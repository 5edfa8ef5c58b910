/* Joins the job, says which rank it is, and leaves; with an argument, rank 1 ends the job with that exit code
 * while the others wait for it. */
#include <stdio.h>
#include <stdlib.h>

#include "comm/comm.h"

int main(int argc, char **argv)
{
    beam_comm c;
    const beam_status s = beam_comm_open(&c);
    if (s) {
        fprintf(stderr, "%s\n", beam_last_error());
        return beam_exit_code(s);
    }
    if (argc > 1) {
        int ranks[64];
        if (c.rank == (c.size > 1 ? 1 : 0))
            beam_comm_abort(&c, atoi(argv[1]));
        beam_comm_host_gather(&c, &c.rank, ranks, sizeof c.rank);
    }
    printf("rank %d of %d over %s\n", c.rank, c.size, c.ops->name);
    beam_comm_close(&c);
    return 0;
}
