/* What a model holds: for the files that implement model/model.h only. */
#ifndef BEAM_MODEL_MODEL_STATE_H
#define BEAM_MODEL_MODEL_STATE_H

#include "model/block.h"
#include "model/expert_parallel.h"
#include "model/head.h"
#include "model/model.h"

struct beam_model {
    beam_model_config config;
    beam_model_options options;
    beam_backend *be;
    beam_model_weights weights;
    beam_expert_parallel parallel; /* if options.expert_ranks > 1 */
    beam_expert_rule rule;
    beam_moe_observer observer;
    void *observer_context;
    int first_moe; /* index of the first MoE layer; layers if there is none */

    void *activation_block, *scratch_block;
    beam_arena scratch;
    size_t activation_bytes;

    /* Inputs of a pass, [max_tokens] each. */
    beam_tensor id, target, position, counted, first;
    beam_tensor cosine, sine;

    /* Inputs of the layers and of the final norm [layers + 1]; without gradients two take turns. */
    beam_tensor *x;
    beam_block_saved *saved; /* [layers]; with recomputation or without gradients all share one place */
    beam_head_saved head;
    beam_tensor routers;   /* wide [MoE layers,E+N,D]: the teacher's, where the model's train; else absent */
    beam_tensor load;      /* f64 [2,E+N], where the router trains */
    beam_tensor dprob;     /* wide [E+N] */
    beam_tensor union_sum; /* f64 [2], where masks train */
    beam_tensor stats;     /* f64 [moe layers, BEAM_STAT_EXPERTS + E] */
    beam_tensor report;    /* u8: these three and the head's losses stand in it, to be fetched at once */

    const beam_batch *batch; /* of the last forward pass */
    bool distilled, united;  /* its head and its backward pass had these terms */
    void *host;              /* staging for transfers: the report; three doubles per row of a router */
    bool reported;           /* host holds the report of the last pass */
};

static inline bool beam_model_trains(const beam_model *m)
{
    return m->options.scope != BEAM_SCOPE_NONE;
}

/* Lists and the rule, without memory of the device. The model may be unprepared in any case. */
beam_status beam_model_prepare(beam_model *m, const beam_model_config *config,
                               const beam_model_options *options, beam_backend *be);
void beam_model_unprepare(beam_model *m);

/* `load` of the last forward pass, in m->host. */
double *beam_model_fetch_load(beam_model *m);

/* Host memory for transfers, of a report of that size. */
beam_status beam_model_stage(beam_model *m, size_t report);

/* Places every activation in the arena. */
void beam_model_layout(beam_model *m, beam_arena *a);

/* Bytes of scratch that the largest step needs; activations are laid out. */
size_t beam_model_measure_scratch(beam_model *m);

#endif
