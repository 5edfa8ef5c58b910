/* One training run in memory: model, optimizer, data, controller. A step reads as the method does. */
#ifndef BEAM_TRAIN_TRAINER_H
#define BEAM_TRAIN_TRAINER_H

#include "comm/tree.h"
#include "data/checkpoint.h"
#include "data/loader.h"
#include "model/model.h"
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "optim/target.h"
#include "train/config.h"

typedef struct {
    const beam_config *config;
    beam_backend backend;
    beam_model *model;
    beam_adamw_state adamw;
    beam_tree tree;
    beam_tensor norm_sum;      /* f64 [1] on the device */
    beam_tensor gate_offset;   /* real [1] on the device */
    beam_loader *train, *eval; /* eval: NULL if there is none */
    beam_schedule schedule;
    beam_target target; /* used if target_active is set */
    beam_checkpoint_state state;
    int64_t total_steps;
    double *stats;  /* [moe layers][BEAM_STAT_EXPERTS + E] of the last step */
    double *active; /* [moe layers] kept experts per token in the last step */
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
} beam_step_result;

/* Builds everything a run needs, at step 0. On failure close is still needed. */
beam_status beam_trainer_open(beam_trainer *t, const beam_config *c);
void beam_trainer_close(beam_trainer *t);

/* One optimizer step. BEAM_ENUMERIC, with *out and the state as after any step, when more than
 * config->max_skipped_steps in a row were not finite; after another failure the step did not happen. */
beam_status beam_trainer_step(beam_trainer *t, beam_step_result *out);

/* Everything that decides the following steps, into and out of a checkpoint. */
beam_status beam_trainer_save(beam_trainer *t);
beam_status beam_trainer_restore(beam_trainer *t, const char *checkpoint);

/* Rows of the evaluation loader's micro-batch. */
int64_t beam_trainer_rows(const beam_trainer *t);

#endif
