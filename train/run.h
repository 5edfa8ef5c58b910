/* A whole training run: resume, steps, logs, evaluation, checkpoints, stopping. */
#ifndef BEAM_TRAIN_RUN_H
#define BEAM_TRAIN_RUN_H

#include "comm/comm.h"
#include "train/config.h"

/* Trains as configured, with all ranks of the comm, resuming as resume_from_checkpoint says. stop_after > 0:
 * saves and stops after that many steps of this call, as if a signal had arrived. BEAM_OK when all steps are
 * done and saved; BEAM_STOPPED when stopped early with a good checkpoint. `origins` (may be NULL) annotate
 * config.resolved.yaml.
 *
 * Only rank 0 touches output_dir, but for the log of each rank that sees it. What is returned is the same on
 * every rank, and so is its message: a rank that fails alone among several after the first step prints its
 * message and ends all. */
beam_status beam_train(const beam_config *c, char **origins, int64_t stop_after, beam_comm *comm);

/* resume_from_checkpoint: auto. */
bool beam_run_resumes_by_itself(const beam_config *c);

/* Where a run goes on: for rank 0, as other ranks may not see output_dir. `path` is "none" for a start;
 * `newest`, the newest complete checkpoint of output_dir, is "" if there is none. */
beam_status beam_run_choose_start(const beam_config *c, char path[BEAM_PATH_MAX], char newest[BEAM_PATH_MAX]);

/* BEAM_ECONFIG if `newest` is ahead of a run that starts at `step`. Checkpoints of an earlier run would be
 * taken for this one's own: its would be pruned as the older ones, and resuming and export would find the
 * others. */
beam_status beam_run_refuse_newer(const char *newest, int64_t step);

#endif
