/* A verb that runs as the ranks of a job. */
#ifndef BEAM_CLI_JOB_H
#define BEAM_CLI_JOB_H

#include "comm/comm.h"

/* Leaves the job and returns `status`. Among several ranks a failure ends the process here: rank 0 says what
 * all ranks failed at, before any process ends, because mpirun then ends the others; a rank that has lost the
 * others says so and ends them. */
beam_status beam_job_end(beam_comm *c, const char *verb, beam_status status);

#endif
