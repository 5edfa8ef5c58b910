/* What a model does on a token file: loss, accuracy, and how many experts it runs. */
#ifndef BEAM_TRAIN_EVAL_H
#define BEAM_TRAIN_EVAL_H

#include "comm/comm.h"
#include "data/loader.h"
#include "model/model.h"

enum { BEAM_DISTINCT_SIZES = 9 }; /* groups of 1, 2, 4, ... 256 tokens */

/* The names are those of docs/method.md. */
typedef struct {
    double loss;     /* mean negative log-likelihood of a target, nats */
    double accuracy; /* share of targets that are the most likely token */
    int64_t targets;
    double avg_active;         /* mean kept experts per token and MoE layer */
    double soft_active;        /* mean over candidates of q: the value that the penalty acts on */
    double zero_expert_tokens; /* share of (token, layer) with no expert kept */
    double moe_flops_saved;
    /* Mean number of different experts that 2^i tokens of different rows keep; < 0: rows too few. */
    double distinct[BEAM_DISTINCT_SIZES];
    double seconds;
    int64_t tokens;
    int64_t moe_layers, experts;
    double *active; /* [moe_layers] kept experts per token */
    double *load;   /* [moe_layers][experts] kept pairs of each expert per token */
} beam_eval_result;

/* Evaluates rows [0, limit) of the loader (limit <= 0: one epoch), in micro-batches of its size, with the
 * model's present rule. Free the result with beam_eval_free.
 *
 * With a comm (NULL: alone) each rank takes a share of the micro-batches, and all get the result: the bits of
 * one rank but for soft_active, whose last ones depend on the shares. A failure is this rank's own. A signal
 * that a run listens for (train/signals.h) ends the evaluation between two batches: BEAM_STOPPED, on all. */
beam_status beam_evaluate(beam_model *m, beam_loader *l, int64_t limit, int64_t rows_per_batch,
                          beam_comm *comm, beam_eval_result *out);
void beam_eval_free(beam_eval_result *r);

/* 1 - MoE work with the rule / MoE work of the base model, in multiply-adds per token and layer
 * (docs/method.md). */
double beam_moe_flops_saved(const beam_model_config *c, bool masks, double avg_active);

#endif
