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

#endif
