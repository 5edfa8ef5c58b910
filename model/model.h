/* A decoder-only mixture-of-experts language model with mask gates: explicit forward and backward, no graph.
 *
 *     BEAM_TRY(beam_model_open(&model, &config, &options, &backend));
 *     BEAM_TRY(beam_model_load(model, "folder", false));                // model/load.h
 *     beam_model_zero_grads(model);
 *     beam_model_forward(model, batch, 1.0 / targets);
 *     beam_model_backward(model, &(beam_backward_args){.masks.penalty = beta / (layers * tokens * k)});
 *     BEAM_TRY(beam_model_result(model, &result));                      // the one place a step can fail
 */
#ifndef BEAM_MODEL_MODEL_H
#define BEAM_MODEL_MODEL_H

#include "comm/comm.h"
#include "core/batch.h"
#include "model/pass.h"
#include "model/weights.h"

typedef struct {
    beam_scope scope;   /* BEAM_SCOPE_NONE: no gradients */
    int64_t max_tokens; /* largest micro-batch */
    bool checkpointing; /* keep each layer's input only and recompute the rest in backward */
    int expert_ranks;   /* P of model/expert_parallel.h; 0 or 1: all experts are on every rank */
    beam_comm *comm;    /* of the job, with expert_ranks > 1; must outlive the model */
    /* Self-distillation: a pass that trains is preceded by one with all masks open, whose predictions it
     * learns from. This teacher is the untouched base model: all of it must be frozen but the routers
     * (BEAM_SCOPE_MASKS, BEAM_SCOPE_ROUTERS), of which it has copies (beam_model_keep_teacher). */
    struct {
        double weight; /* 0 to 1, of the divergence in the loss; the targets have the rest. 0: no teacher */
        double temperature;
    } distill;
} beam_model_options;

typedef struct {
    beam_mask_terms masks;
    double balance; /* router_aux_loss_coef * this micro-batch's share of the global tokens */
    /* Called as soon as this pass adds nothing more to the elements of beam_model_grads from `from` on, which
     * falls from call to call, to 0 at the end. NULL: nobody wants to know. */
    void (*final)(void *context, int64_t from);
    void *context;
} beam_backward_args;

typedef struct {
    double loss;       /* sum of the negative log-likelihoods of the targets, in nats */
    int64_t targets;   /* how many */
    int64_t correct;   /* targets that are the most likely token */
    double divergence; /* sum over targets of tau^2 KL(teacher || student); 0 without a teacher */
    double unions;  /* sum over MoE layers and groups of U of the last backward pass; 0 without that term */
    double balance; /* load-balancing loss (Hugging Face's definition), where the router trains; else 0 */
} beam_forward_result;

typedef struct beam_model beam_model;

/* Allocates parameters, gradients, activations and scratch on `be`, which must outlive the model. Mask gates
 * exist if config->mask.present, and then decide (hard form). Parameters are uninitialised: load or
 * initialise them. With expert_ranks > 1 parameters of experts are those of this rank's share, and every pass
 * is collective. */
beam_status beam_model_open(beam_model **out, const beam_model_config *config,
                            const beam_model_options *options, beam_backend *be);
void beam_model_close(beam_model *m); /* accepts NULL */

const beam_model_config *beam_model_config_of(const beam_model *m);
/* As they are stored. Whoever writes those of the base model calls beam_model_round then. */
beam_params beam_model_params(beam_model *m);

/* Where base weights train in bfloat16, makes those that the model computes with of those that are stored. */
void beam_model_round(beam_model *m);
beam_backend *beam_model_backend(beam_model *m);
int64_t beam_model_max_tokens(const beam_model *m);

/* All gradients as one block (wide [n], padding is zero), and setting it to zero. They stand in the order of
 * the parameters: embedding, layers, norm, head. */
beam_tensor beam_model_grads(beam_model *m);
void beam_model_zero_grads(beam_model *m);

/* Stored values of all that trains, as one block of the layout of beam_model_grads; padding is zero. */
beam_tensor beam_model_values(beam_model *m);

/* Which experts run from now on: masks on or off, soft form (only with masks), pruned top-k. */
beam_expert_rule beam_model_rule(const beam_model *m);
void beam_model_set_rule(beam_model *m, beam_expert_rule rule);

/* Where routers train beside a teacher, takes them as they are for the teacher's, which are undefined before:
 * after the base model was loaded, and before anything that was trained. */
void beam_model_keep_teacher(beam_model *m);

/* Adds `by` [1] to all mask logits, through the bias of every gate that has one. */
void beam_model_shift_gates(beam_model *m, beam_tensor by);

/* Shows every MoE layer of a forward pass to the observer; NULL: nobody. */
void beam_model_observe(beam_model *m, beam_moe_observer observer, void *context);

/* Loss of one micro-batch; dropped experts do not run. grad_scale = 1 / (global number of targets) prepares
 * for backward; 0 only evaluates. */
void beam_model_forward(beam_model *m, const beam_batch *batch, double grad_scale);

/* A pass over one token that counts in no statistics, for a rank that has nothing to evaluate while others
 * need its experts. Waits for it; there is no result to ask for. */
beam_status beam_model_idle(beam_model *m);

/* Adds the gradients of the last forward pass, once: it uses up what that pass kept. */
void beam_model_backward(beam_model *m, const beam_backward_args *args);

/* Waits, reports a failure of the device, and gives the last forward pass's sums. */
beam_status beam_model_result(beam_model *m, beam_forward_result *out);

/* -log p of each target of the last forward pass, 0 where there is none: double out[T]. */
beam_status beam_model_token_losses(beam_model *m, double *out);

/* Logits of tokens [first, first + n) of the last forward pass: float out[n,V]. */
beam_status beam_model_logits(beam_model *m, int64_t first, int64_t n, float *out);

/* Mask statistics of each MoE layer since the last call: double out[moe layers][BEAM_STAT_EXPERTS + E]; NULL
 * only starts them anew. */
beam_status beam_model_take_stats(beam_model *m, double *out);

/* Of such statistics: the mean over MoE layers of a column (BEAM_STAT_KEPT, ...) per counted token; 0 without
 * any. */
double beam_stats_mean(const beam_model_config *c, const double *stats, int column);

/* Bytes by lifetime. */
typedef struct {
    size_t parameters, gradients, activations, scratch;
} beam_memory_plan;
beam_memory_plan beam_model_memory(const beam_model *m);

/* What a model of this shape would take on a backend of this element type; nothing is allocated. */
beam_status beam_model_plan(beam_memory_plan *out, const beam_model_config *config,
                            const beam_model_options *options, beam_dtype real);

#endif
