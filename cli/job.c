#include "cli/job.h"

#include <stdio.h>
#include <stdlib.h>

beam_status beam_job_end(beam_comm *c, const char *verb, beam_status status)
{
    const bool several = c->size > 1;
    if (c->status) {
        fprintf(stderr, "beam %s: rank %d: %s\n", verb, c->rank, beam_last_error());
        beam_comm_abort(c, beam_exit_code(c->status));
    }
    if (status && several && c->rank == 0)
        fprintf(stderr, "beam %s: %s\n", verb, beam_last_error());
    beam_comm_close(c);
    if (status && several)
        exit(beam_exit_code(status));
    return status;
}
