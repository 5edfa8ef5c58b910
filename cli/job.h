/* A verb that runs as the ranks of a job. */
#ifndef BEAM_CLI_JOB_H
#define BEAM_CLI_JOB_H

#include "comm/comm.h"

/* Leaves the job and returns `status`, so that main reports it. Where all ranks failed together, rank 0 alone
 * returns and the others end here with its exit code; where this rank has lost the others, the job ends. */
beam_status beam_job_end(beam_comm *c, const char *verb, beam_status status);

#endif
