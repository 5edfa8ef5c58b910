/* One training run in memory: model, optimizer, data, controller. A step reads as the method does.
 *
 * Ranks hold the model each and take turns in the rows: rank r has micro-batches [r A, (r + 1) A) of the N A
 * of a step, A = gradient_accumulation_steps. Each keeps the moments of its own share of what trains, updates
 * that share and gets the rest from the others (comm/sum.h). Everything else (controller, counters,
 * decisions) runs alike on every rank, from numbers that are the same on all of them. */
#ifndef BEAM_TRAIN_TRAINER_H
#define BEAM_TRAIN_TRAINER_H

#include "comm/sum.h"
#include "data/checkpoint.h"
#include "data/loader.h"
#include "model/model.h"
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "optim/target.h"
#include "train/config.h"
#include "train/leaf_sums.h"
#include "train/shard.h"

/* What a step's micro-batches add up on the host, in front of the statistics of the masks. */
enum { BEAM_SUM_LOSS, BEAM_SUM_DIVERGENCE, BEAM_SUM_BALANCE, BEAM_SUM_UNIONS, BEAM_SUM_STATS };

typedef struct {
    const beam_config *config;
    beam_comm *comm;
    beam_backend backend;
    beam_model *model;
    beam_sum sum;
    beam_shard shard;
    beam_adamw_state adamw;    /* of this rank's share */
    beam_tensor squares;       /* f64 [units of the shard] on the device */
    beam_tensor gate_offset;   /* wide [1] on the device */
    beam_loader *train, *eval; /* eval: NULL if there is none */
    beam_schedule schedule;
    beam_target target; /* used if target_active is set */
    beam_checkpoint_state state;
    int64_t total_steps;
    beam_leaf_sums leaves;
    double *sums;        /* [leaves.n + 1 + units of the shard] of the last step, over all ranks: losses,
                            [moe layers][BEAM_STAT_EXPERTS + E], stop requests, squares of gradients */
    double *active;      /* [moe layers] kept experts per token in the last step */
    double data_seconds; /* that steps of this process have waited for data */
} beam_trainer;

/* What one step did. task_loss is the mean over the step's targets, in nats; mask_loss is L_reg,
 * balance_loss L_bal of docs/method.md, before their weights, and so on; loss is the weighted sum. */
typedef struct {
    double loss, task_loss, mask_loss, balance_loss;
    double divergence; /* L_kd; 0 without distillation */
    double union_loss; /* L_union; 0 without that term */
    double avg_active, penalty, grad_norm, learning_rate;
    int64_t targets, tokens;
    bool skipped; /* nothing was updated: a non-finite loss or gradient, or no target in the step's rows */
    bool stop;    /* a signal has asked some rank to save and stop */
} beam_step_result;

/* Builds everything a run needs, at step 0, on every rank of `comm`, which must outlive the trainer. All
 * ranks fail alike. On failure close is still needed. */
beam_status beam_trainer_open(beam_trainer *t, const beam_config *c, beam_comm *comm);
void beam_trainer_close(beam_trainer *t);

/* One optimizer step; the same result on every rank. BEAM_ENUMERIC, with *out and the state as after any
 * step, when more than config->max_skipped_steps in a row were not finite; after another failure, of which
 * the other ranks do not know, the step did not happen. */
beam_status beam_trainer_step(beam_trainer *t, beam_step_result *out);

/* Everything that decides the following steps, into and out of a checkpoint, which rank 0 writes or reads.
 * All ranks fail alike. */
beam_status beam_trainer_save(beam_trainer *t);
beam_status beam_trainer_restore(beam_trainer *t, const char *checkpoint);

/* What a trainer does before and beside its steps, for whoever only wants to know (train/plan.h). */

/* The token files of a run; *eval stays as it is if there is none. On failure close both nevertheless. */
beam_status beam_run_open_data(const beam_config *c, beam_loader **train, beam_loader **eval);

/* What only model, data and configuration together can get wrong. `eval` may be NULL. */
beam_status beam_run_check(const beam_config *c, const beam_model_config *m, const beam_loader *train,
                           const beam_loader *eval);

/* Optimizer steps of a run. */
int64_t beam_run_steps(const beam_config *c, int64_t epoch_rows, int64_t step_rows);

/* Whether the run `now` may go on from the checkpoint `path`, whose state is `found`. */
beam_status beam_run_check_resume(const beam_config *c, int ranks, const beam_checkpoint_state *now,
                                  const char *path, const beam_checkpoint_state *found);

/* Rows of a micro-batch, and of an optimizer step over all ranks. */
int64_t beam_trainer_rows(const beam_trainer *t);
int64_t beam_trainer_step_rows(const beam_trainer *t);

#endif
