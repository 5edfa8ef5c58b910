/* Results that earlier commands left in files: evaluations (`beam eval --json`) and a run's metrics.jsonl. */
#ifndef BEAM_DATA_RESULTS_H
#define BEAM_DATA_RESULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* Kept experts of the tokens of a text, mean over the MoE layers. */
typedef struct {
    char tokenizer[64];
    int64_t n;
    int32_t *id;
    double *kept;
} beam_sample;

enum { BEAM_BATCH_SIZES = 9 }; /* 1, 2, 4, ... 256 tokens */

/* One evaluation; the names are those of docs/method.md. NAN where the file has null or nothing. */
typedef struct {
    char data[1024]; /* the token file, "" if not told */
    int64_t targets; /* 0 if not told */
    bool masks;
    int64_t top_k;     /* candidates per token, K */
    int64_t pruned_to; /* best candidates that ran without masks; 0: not pruned */
    bool renormalize;  /* and their weights were divided by their sum */
    double loss, accuracy, avg_active, moe_flops_saved;
    int64_t layers, experts; /* of load */
    double *load;            /* [layers][experts] kept pairs of each expert per token; NULL if not told */
    /* Mean number of different experts that 2^i tokens of different texts keep; NAN where not told. */
    double distinct[BEAM_BATCH_SIZES];
    beam_sample sample; /* n = 0 if not told */
} beam_evaluation;

/* BEAM_EIO if the file cannot be read, BEAM_EDATA if it is not an evaluation. Free with
 * beam_evaluation_free. */
beam_status beam_evaluation_read(const char *path, beam_evaluation *out);
void beam_evaluation_free(beam_evaluation *e);

/* Columns of numbers, NAN where a line has null or nothing. */
typedef struct {
    int64_t rows, capacity, columns;
    double *at; /* column c starts at c * capacity */
} beam_columns;

const double *beam_column(const beam_columns *t, int64_t c);

enum {
    BEAM_STEP,
    BEAM_LOSS,
    BEAM_TASK_LOSS,
    BEAM_AVG_ACTIVE,
    BEAM_PENALTY,
    BEAM_LR,
    BEAM_TOKENS_PER_S,
    BEAM_STEP_COLUMNS
};
enum {
    BEAM_EVAL_STEP,
    BEAM_EVAL_LOSS,
    BEAM_EVAL_ACCURACY,
    BEAM_EVAL_ACTIVE,
    BEAM_EVAL_SAVED,
    BEAM_EVAL_COLUMNS
};

/* A run, step by step. After the fixed columns of `steps` comes one for each MoE layer: kept experts per
 * token. */
typedef struct {
    beam_columns steps, evals;
    int64_t layers;
} beam_history;

/* Reads folder/metrics.jsonl. A last line without its newline is still being written and is left out; lines
 * that are neither a step nor an evaluation are passed over. BEAM_EIO if it cannot be read, BEAM_EDATA with
 * file and line for what is not JSON or not a run's metrics. Free with beam_history_free. */
beam_status beam_history_read(const char *folder, beam_history *out);
void beam_history_free(beam_history *h);

#endif
