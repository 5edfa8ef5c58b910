/* `beam train` as several ranks under mpirun, from a test that is one process itself. */
#ifndef BEAM_TESTS_TRAIN_JOB_H
#define BEAM_TESTS_TRAIN_JOB_H

#include <stdbool.h>
#include <sys/types.h>

#include "train/config.h"

/* False if the test's environment names no mpirun (BEAM_MPIRUN) and program (BEAM_PROGRAM): to be skipped. */
bool job_possible(void);

typedef struct {
    pid_t pid;
    char output[BEAM_PATH_MAX]; /* file of what it prints */
    double start;
} job;

/* Starts the run. Every rank is a shell of its own that first obeys `before`: it may look at
 * $OMPI_COMM_WORLD_RANK, write files beside output_dir, and set `more` to further arguments. */
job job_start(const beam_config *c, int ranks, const char *before);

/* Waits, at most 15 seconds longer than a job that goes well may take. Returns its exit code. */
int job_end(job *j);

/* Both, and an exit code that is expected. */
void job_expect(const beam_config *c, int ranks, const char *before, int code);

/* Stops the test unless the last job of this run printed `text`; counts how often. */
int job_said(const beam_config *c, const char *text);

#endif
