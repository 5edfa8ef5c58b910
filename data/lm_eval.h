/* Scores of lm-evaluation-harness: what `lm_eval --output_path` writes, results_*.json. */
#ifndef BEAM_DATA_LM_EVAL_H
#define BEAM_DATA_LM_EVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* One metric of one task. */
typedef struct {
    char task[128], metric[64];
    char filter[64];           /* how answers are taken from what the model says; "none" usually */
    double value, error;       /* standard error; NAN if there is none */
    bool higher_is_better;     /* false also where the file does not tell */
    bool part;                 /* its task belongs to a group, which has scores of its own */
    int64_t questions, n_shot; /* -1 if not told */
} beam_lm_eval_score;

/* Of one model. */
typedef struct {
    char model[1024]; /* as the file names it, "" if it does not */
    beam_lm_eval_score *score;
    int64_t n;
} beam_lm_eval;

/* *yes: the file is the harness's rather than an evaluation of beam. BEAM_EIO if it cannot be read,
 * BEAM_EDATA if it is no JSON object. */
beam_status beam_lm_eval_recognise(const char *path, bool *yes);

/* What is no number (the harness writes "N/A") is left out. BEAM_EIO if it cannot be read, BEAM_EDATA if it
 * is not the harness's. Free with beam_lm_eval_free. */
beam_status beam_lm_eval_read(const char *path, beam_lm_eval *out);
void beam_lm_eval_free(beam_lm_eval *e);

/* Adds the scores that `path` holds, of the same model. BEAM_EDATA, and *to as it was, if it has one of them.
 */
beam_status beam_lm_eval_join(const char *path, const beam_lm_eval *from, beam_lm_eval *to);

/* The score of the same task, metric and filter; NULL if there is none. */
const beam_lm_eval_score *beam_lm_eval_find(const beam_lm_eval *e, const beam_lm_eval_score *like);

#endif
