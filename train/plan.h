/* What a run will do, found out without doing it: reads the configuration, config.json, the headers of the
 * weights and the token files, writes nothing, and fails as the run would. */
#ifndef BEAM_TRAIN_PLAN_H
#define BEAM_TRAIN_PLAN_H

#include "train/config.h"

typedef struct {
    int64_t rows, tokens, targets; /* of an epoch; tokens without padding */
    int64_t eval_rows;             /* of one evaluation during training */
    int64_t step_rows, steps;      /* of an optimizer step over all ranks; of the run */
    char start[BEAM_PATH_MAX];     /* the checkpoint that it goes on from; "none" */
    int64_t done;                  /* steps in it */
    double tokens_per_s;           /* of the last steps of the run in output_dir; 0: none were made */
    int64_t disk_free;             /* bytes, where output_dir is or will be; 0: unknown */
} beam_plan;

/* For a job of `ranks` ranks. What only shows when the weights are read is not found: tensors that are
 * missing or not finite, another base model than that of the checkpoint. */
beam_status beam_plan_make(const beam_config *c, int ranks, beam_plan *out);

/* Tokens of the steps that are left. */
double beam_plan_tokens_left(const beam_plan *p);

#endif
