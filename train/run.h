/* A whole training run: resume, steps, logs, evaluation, checkpoints, stopping. */
#ifndef BEAM_TRAIN_RUN_H
#define BEAM_TRAIN_RUN_H

#include "train/config.h"

/* Trains as configured, resuming as resume_from_checkpoint says. stop_after > 0: saves and stops after that
 * many steps of this call, as if a signal had arrived. BEAM_OK when all steps are done and saved;
 * BEAM_STOPPED when stopped early with a good checkpoint. `origins` (may be NULL) annotate
 * config.resolved.yaml. */
beam_status beam_train(const beam_config *c, char **origins, int64_t stop_after);

#endif
