/* Where a model's memory goes: laying out activations, and measuring all of it before anything is allocated.
 */
#include <math.h>
#include <stdlib.h>

#include "model/model_state.h"

/* With one place for all layers, each layer's tensors are laid over it anew. */
static bool shares_activations(const beam_model *m)
{
    return m->options.checkpointing || !beam_model_trains(m);
}

static void layout_layers(beam_model *m, beam_arena *a)
{
    const beam_model_config *c = &m->config;
    const int64_t t = m->options.max_tokens;
    for (int i = 0; i <= c->layers; i++)
        m->x[i] = !beam_model_trains(m) && i >= 2 ? m->x[i - 2]
                                                  : beam_push(a, m->be->real, BEAM_DIMS(t, c->hidden_size));
    const size_t mark = beam_mark(a);
    for (int i = 0; i < c->layers; i++) {
        if (shares_activations(m))
            beam_release(a, mark);
        beam_block_layout(&m->saved[i], c, i, m->be->real, t, a);
    }
}

static void layout_report(beam_model *m, beam_arena *a)
{
    const beam_model_config *c = &m->config;
    const size_t begin = beam_mark(a);
    m->stats = beam_push(a, BEAM_F64, BEAM_DIMS(beam_moe_layers(c), BEAM_STAT_EXPERTS + c->experts));
    if (m->options.scope >= BEAM_SCOPE_ROUTERS)
        m->load = beam_push(a, BEAM_F64, BEAM_DIMS(2, beam_router_rows(c)));
    if (beam_model_trains(m))
        m->union_sum = beam_push(a, BEAM_F64, BEAM_DIMS(2));
    beam_head_layout_losses(&m->head, m->be->real, m->options.max_tokens, m->options.distill.weight > 0, a);
    const int64_t bytes = (int64_t)(beam_mark(a) - begin);
    m->report = beam_view(m->stats.data, BEAM_U8, BEAM_DIMS(bytes));
}

void beam_model_layout(beam_model *m, beam_arena *a)
{
    const beam_model_config *c = &m->config;
    const int64_t t = m->options.max_tokens, rows = beam_router_rows(c), half = c->rotary_dim / 2;
    m->id = beam_push(a, BEAM_I32, BEAM_DIMS(t));
    m->target = beam_push(a, BEAM_I32, BEAM_DIMS(t));
    m->position = beam_push(a, BEAM_I32, BEAM_DIMS(t));
    m->counted = beam_push(a, BEAM_U8, BEAM_DIMS(t));
    m->first = beam_push(a, BEAM_I32, BEAM_DIMS(t + 1));
    m->cosine = beam_push(a, m->be->wide, BEAM_DIMS(t, half));
    m->sine = beam_push(a, m->be->wide, BEAM_DIMS(t, half));
    if (m->options.scope >= BEAM_SCOPE_ROUTERS)
        m->dprob = beam_push(a, m->be->wide, BEAM_DIMS(rows));
    if (m->options.scope == BEAM_SCOPE_ROUTERS && m->options.distill.weight > 0)
        m->routers = beam_push(a, m->be->wide, BEAM_DIMS(beam_moe_layers(c), rows, c->hidden_size));
    layout_report(m, a);
    beam_head_layout(&m->head, c, m->be->real, t, beam_model_trains(m), m->options.distill.weight > 0, a);
    layout_layers(m, a);
}

/* The step itself runs over an arena whose addresses nobody touches, on a backend that counts as failed, so
 * that no op touches anything. What is measured is what will be used. */
size_t beam_model_measure_scratch(beam_model *m)
{
    beam_backend *const be = m->be;
    beam_backend idle = *be;
    idle.status = BEAM_EDEVICE;
    const beam_batch batch = {.tokens = m->options.max_tokens, .sequences = 1};
    m->be = &idle;
    m->scratch = (beam_arena){.base = (char *)m->id.data, .capacity = SIZE_MAX / 2};
    beam_model_forward(m, &batch, beam_model_trains(m) ? 1 : 0);
    if (beam_model_trains(m))
        beam_model_backward(m, &(beam_backward_args){.balance = 1, .masks = {.union_weight = 1}});
    m->be = be;
    m->batch = NULL;
    return m->scratch.peak;
}

beam_status beam_model_prepare(beam_model *m, const beam_model_config *config,
                               const beam_model_options *options, beam_backend *be)
{
    *m = (beam_model){.config = *config, .options = *options, .be = be};
    BEAM_ASSERT(options->distill.weight == 0 || options->scope == BEAM_SCOPE_MASKS ||
                options->scope == BEAM_SCOPE_ROUTERS);
    if (options->expert_ranks > 1)
        BEAM_TRY(beam_expert_parallel_share(&m->parallel, &m->config, options->expert_ranks, options->comm,
                                            options->max_tokens));
    m->rule = (beam_expert_rule){.masks = config->mask.present,
                                 .form = BEAM_MASK_HARD,
                                 .cutoff = log(config->mask.threshold / (1 - config->mask.threshold)),
                                 .temperature = 1,
                                 .prune = beam_no_pruning(config)};
    while (m->first_moe < config->layers && !config->moe_layer[m->first_moe])
        m->first_moe++;
    m->x = calloc((size_t)config->layers + 1, sizeof *m->x);
    m->saved = calloc((size_t)config->layers, sizeof *m->saved);
    return m->x && m->saved ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for the model");
}

beam_status beam_model_stage(beam_model *m, size_t report)
{
    const size_t loads = 3 * (size_t)beam_router_rows(&m->config) * sizeof(double);
    m->host = malloc(report > loads ? report : loads);
    return m->host ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for token losses (%zu bytes)", report);
}

void beam_model_unprepare(beam_model *m)
{
    beam_expert_parallel_close(&m->parallel);
    free(m->host);
    free(m->saved);
    free(m->x);
}

static beam_status measure(beam_model *m, beam_memory_plan *out)
{
    /* An address for tensors that nobody reads; only its alignment matters. */
    beam_arena a = beam_arena_over((void *)(uintptr_t)BEAM_ALIGN, SIZE_MAX / 2);
    BEAM_TRY(beam_model_stage(m, 0)); /* the rehearsal moves what is per expert only */
    BEAM_TRY(beam_model_weights_list(&m->weights, &m->config, m->options.scope, m->be->real));
    beam_model_weights_measure(&m->weights, &out->parameters, &out->gradients);
    beam_model_layout(m, &a);
    out->activations = a.peak;
    out->scratch = beam_model_measure_scratch(m);
    beam_model_weights_unlist(&m->weights);
    return BEAM_OK;
}

beam_status beam_model_plan(beam_memory_plan *out, const beam_model_config *config,
                            const beam_model_options *options, beam_dtype real)
{
    beam_backend idle = {.status = BEAM_EDEVICE, .real = real, .wide = beam_wide_of(real)};
    beam_model m;
    *out = (beam_memory_plan){0};
    beam_status status = beam_model_prepare(&m, config, options, &idle);
    if (!status)
        status = measure(&m, out);
    beam_model_unprepare(&m);
    return status;
}
