#include "cli/job.h"

#include <stdio.h>
#include <stdlib.h>

beam_status beam_job_end(beam_comm *c, const char *verb, beam_status status)
{
    const int rank = c->rank;
    if (c->status) {
        fprintf(stderr, "beam %s: rank %d: %s\n", verb, rank, beam_last_error());
        beam_comm_abort(c, beam_exit_code(c->status));
    }
    beam_comm_close(c);
    if (status && rank > 0)
        exit(beam_exit_code(status));
    return status;
}
