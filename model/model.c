#include "model/model.h"

#include <math.h>
#include <stdlib.h>

#include "model/model_state.h"
#include "model/rope.h"

static bool trains(const beam_model *m)
{
    return m->options.scope != BEAM_SCOPE_NONE;
}

/* With one place for all layers, each layer's tensors are laid over it anew. */
static bool shares_activations(const beam_model *m)
{
    return m->options.checkpointing || !trains(m);
}

static void layout_layers(beam_model *m, beam_arena *a)
{
    const beam_model_config *c = &m->config;
    const int64_t t = m->options.max_tokens;
    for (int i = 0; i <= c->layers; i++)
        m->x[i] =
            !trains(m) && i >= 2 ? m->x[i - 2] : beam_push(a, m->be->real, BEAM_DIMS(t, c->hidden_size));
    const size_t mark = beam_mark(a);
    for (int i = 0; i < c->layers; i++) {
        if (shares_activations(m))
            beam_release(a, mark);
        beam_block_layout(&m->saved[i], c, i, m->be->real, t, a);
    }
}

static void layout(beam_model *m, beam_arena *a)
{
    const beam_model_config *c = &m->config;
    const int64_t t = m->options.max_tokens, e = c->experts, half = c->head_dim / 2;
    m->id = beam_push(a, BEAM_I32, BEAM_DIMS(t));
    m->target = beam_push(a, BEAM_I32, BEAM_DIMS(t));
    m->position = beam_push(a, BEAM_I32, BEAM_DIMS(t));
    m->counted = beam_push(a, BEAM_U8, BEAM_DIMS(t));
    m->first = beam_push(a, BEAM_I32, BEAM_DIMS(t + 1));
    m->cosine = beam_push(a, m->be->real, BEAM_DIMS(t, half));
    m->sine = beam_push(a, m->be->real, BEAM_DIMS(t, half));
    m->stats = beam_push(a, BEAM_F64, BEAM_DIMS(beam_moe_layers(c), BEAM_STAT_EXPERTS + e));
    if (m->options.scope == BEAM_SCOPE_ALL) {
        m->load = beam_push(a, BEAM_F64, BEAM_DIMS(2, e));
        m->dprob = beam_push(a, m->be->real, BEAM_DIMS(e));
    }
    beam_head_layout(&m->head, c, m->be->real, t, trains(m), a);
    layout_layers(m, a);
}

/* The scratch that the largest step needs: the step itself runs over an arena whose addresses nobody touches,
 * on a backend that counts as failed, so that no op touches anything. What is measured is what will be used.
 */
static size_t measure_scratch(beam_model *m)
{
    beam_backend *const be = m->be;
    beam_backend idle = *be;
    idle.status = BEAM_EDEVICE;
    const beam_batch batch = {.tokens = m->options.max_tokens, .sequences = 1};
    m->be = &idle;
    m->scratch = (beam_arena){.base = m->activation_block, .capacity = SIZE_MAX / 2};
    beam_model_forward(m, &batch, trains(m) ? 1 : 0);
    if (trains(m))
        beam_model_backward(m, &(beam_backward_args){.balance = 1});
    m->be = be;
    m->batch = NULL;
    return m->scratch.peak;
}

static beam_status allocate(beam_model *m)
{
    beam_backend *be = m->be;
    beam_arena a = beam_arena_measure();
    layout(m, &a);
    m->activation_bytes = a.peak;
    m->activation_block = beam_alloc(be, a.peak, "activations");
    const size_t per_token = (size_t)m->options.max_tokens, per_expert = 3 * (size_t)m->config.experts;
    m->host = malloc((per_token > per_expert ? per_token : per_expert) * sizeof(double));
    if (!m->host)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %zu token losses", per_token);
    BEAM_TRY(be->status);
    a = beam_arena_over(m->activation_block, a.peak);
    layout(m, &a);
    const size_t scratch = measure_scratch(m);
    m->scratch_block = beam_alloc(be, scratch, "scratch");
    m->scratch = beam_arena_over(m->scratch_block, scratch);
    return be->status;
}

static beam_status upload_rope(beam_model *m)
{
    void *host = malloc(2 * beam_bytes(m->cosine));
    if (!host)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the table of rotary angles");
    beam_tensor cosine = m->cosine, sine = m->sine;
    cosine.data = host;
    sine.data = (char *)host + beam_bytes(cosine);
    beam_rope_table(cosine, sine, m->config.rope_theta);
    beam_upload(m->be, m->cosine, cosine.data);
    beam_upload(m->be, m->sine, sine.data);
    const beam_status status = beam_sync(m->be);
    free(host);
    return status;
}

beam_status beam_model_open(beam_model **out, const beam_model_config *config,
                            const beam_model_options *options, beam_backend *be)
{
    BEAM_ASSERT(options->max_tokens > 0);
    *out = NULL;
    beam_model *m = calloc(1, sizeof *m);
    if (!m)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the model");
    m->config = *config;
    m->options = *options;
    m->be = be;
    m->rule = (beam_expert_rule){.masks = config->mask.present,
                                 .form = BEAM_MASK_HARD,
                                 .cutoff = log(config->mask.threshold / (1 - config->mask.threshold)),
                                 .keep = (int)config->top_k};
    while (m->first_moe < config->layers && !config->moe_layer[m->first_moe])
        m->first_moe++;
    m->x = calloc((size_t)config->layers + 1, sizeof *m->x);
    m->saved = calloc((size_t)config->layers, sizeof *m->saved);
    beam_status status = m->x && m->saved ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for the model");
    if (!status)
        status = beam_model_weights_alloc(&m->weights, config, options->scope, be);
    if (!status)
        status = allocate(m);
    if (!status)
        status = upload_rope(m);
    if (status) {
        beam_model_close(m);
        return status;
    }
    beam_zero(be, m->stats);
    *out = m;
    return BEAM_OK;
}

void beam_model_close(beam_model *m)
{
    if (!m)
        return;
    beam_model_weights_free(&m->weights, m->be);
    beam_free(m->be, m->activation_block);
    beam_free(m->be, m->scratch_block);
    free(m->host);
    free(m->saved);
    free(m->x);
    free(m);
}

const beam_model_config *beam_model_config_of(const beam_model *m)
{
    return &m->config;
}

beam_params beam_model_params(beam_model *m)
{
    return m->weights.params;
}

beam_backend *beam_model_backend(beam_model *m)
{
    return m->be;
}

int64_t beam_model_max_tokens(const beam_model *m)
{
    return m->options.max_tokens;
}

beam_tensor beam_model_grads(beam_model *m)
{
    return m->weights.grads;
}

void beam_model_zero_grads(beam_model *m)
{
    beam_zero(m->be, m->weights.grads);
}

beam_expert_rule beam_model_rule(const beam_model *m)
{
    return m->rule;
}

void beam_model_set_rule(beam_model *m, beam_expert_rule rule)
{
    BEAM_ASSERT(!rule.masks || m->config.mask.present);
    if (!rule.masks) /* there is no soft mask then, and the layers would run dropped experts */
        rule.form = BEAM_MASK_HARD;
    m->rule = rule;
}

void beam_model_observe(beam_model *m, beam_route_observer observer, void *context)
{
    m->observer = observer;
    m->observer_context = context;
}

static void upload_batch(beam_model *m, const beam_batch *b)
{
    BEAM_ASSERT(b->tokens > 0 && b->tokens <= m->options.max_tokens && b->sequences > 0);
    beam_upload(m->be, beam_rows(m->id, 0, b->tokens), b->id);
    beam_upload(m->be, beam_rows(m->target, 0, b->tokens), b->target);
    beam_upload(m->be, beam_rows(m->position, 0, b->tokens), b->position);
    beam_upload(m->be, beam_rows(m->counted, 0, b->tokens), b->counted);
    beam_upload(m->be, beam_rows(m->first, 0, b->sequences + 1), b->first);
    m->batch = b;
}

static beam_pass begin(beam_model *m)
{
    return (beam_pass){
        .be = m->be,
        .config = &m->config,
        .rule = m->rule,
        .scratch = &m->scratch,
        .position = beam_rows(m->position, 0, m->batch->tokens),
        .counted = beam_rows(m->counted, 0, m->batch->tokens),
        .cosine = m->cosine,
        .sine = m->sine,
        .sequences = {.first = beam_rows(m->first, 0, m->batch->sequences + 1), .n = m->batch->sequences},
    };
}

/* A shorter batch than max_tokens uses the front of each buffer: the layer's tensors are laid out for its
 * size. */
static void layout_for(beam_model *m, int64_t tokens, int layer)
{
    const beam_tensor base = m->saved[layer].attention_in;
    beam_arena a = beam_arena_over(base.data, SIZE_MAX);
    beam_block_layout(&m->saved[layer], &m->config, layer, m->be->real, tokens, &a);
}

static void block_forward(beam_model *m, const beam_pass *p, int i, int moe_index, bool complete, bool count)
{
    const int64_t t = m->batch->tokens;
    layout_for(m, t, i);
    beam_tensor stats = {0};
    if (count && m->config.moe_layer[i]) {
        const beam_tensor row = beam_rows(m->stats, moe_index, 1);
        stats = beam_reshape(row, BEAM_DIMS(row.dim[1]));
    }
    beam_block_forward(p, &m->weights.layer[i], &m->saved[i], beam_rows(m->x[i], 0, t),
                       beam_rows(m->x[i + 1], 0, t), stats, complete);
}

void beam_model_forward(beam_model *m, const beam_batch *batch, double grad_scale)
{
    BEAM_ASSERT(grad_scale == 0 || trains(m));
    upload_batch(m, batch);
    beam_pass p = begin(m);
    p.load = m->load;
    if (p.load.data)
        beam_zero(m->be, p.load);
    const int64_t t = batch->tokens;
    beam_embed(m->be, beam_rows(m->x[0], 0, t), m->weights.embed->value, beam_rows(m->id, 0, t));
    const bool complete = grad_scale != 0 && !m->options.checkpointing;
    for (int i = 0, moe = 0; i < m->config.layers; i++) {
        block_forward(m, &p, i, moe, complete, true);
        if (m->config.moe_layer[i] && m->observer)
            m->observer(m->observer_context, moe, &m->saved[i].moe.route);
        moe += m->config.moe_layer[i];
    }
    beam_head_forward(&p, &m->weights, &m->head, beam_rows(m->x[m->config.layers], 0, t),
                      beam_rows(m->target, 0, t), grad_scale);
}

/* dprob[e] = balance * E * f_e / N: the gradient of E * sum over e of f_e P_e with respect to any one
 * probability, f_e the share of (token, layer) that have e as a candidate, P_e its mean probability, N their
 * number. */
static void balance_gradient(beam_model *m, beam_pass *p, double balance)
{
    if (!m->load.data || balance == 0)
        return;
    const int64_t e = m->config.experts;
    double *load = m->host; /* [2,E], then the gradient */
    void *gradient = load + 2 * e;
    beam_download(m->be, load, m->load);
    const double n = (double)(m->batch->counted_total * beam_moe_layers(&m->config));
    for (int64_t i = 0; i < e; i++) {
        const double g = n > 0 ? balance * (double)e * load[i] / (n * n) : 0;
        if (m->be->real == BEAM_F64)
            ((double *)gradient)[i] = g;
        else
            ((float *)gradient)[i] = (float)g;
    }
    beam_upload(m->be, m->dprob, gradient);
    p->dprob = m->dprob;
}

void beam_model_backward(beam_model *m, const beam_backward_args *args)
{
    /* Dividing the kept weights by their sum is for the pruning baseline; it has no backward. */
    BEAM_ASSERT(trains(m) && m->batch && !(m->rule.renormalize && !m->rule.masks));
    const int64_t t = m->batch->tokens;
    const bool base = m->options.scope == BEAM_SCOPE_ALL;
    beam_pass p = begin(m);
    p.penalty = args->penalty;
    balance_gradient(m, &p, args->balance);

    const size_t mark = beam_mark(&m->scratch);
    beam_tensor d = beam_push(&m->scratch, m->be->real, BEAM_DIMS(t, m->config.hidden_size));
    beam_head_backward(&p, &m->weights, &m->head, beam_rows(m->x[m->config.layers], 0, t), d);
    const int last = base ? 0 : m->first_moe; /* nothing below trains */
    for (int i = (int)m->config.layers - 1; i >= last; i--) {
        if (m->options.checkpointing)
            block_forward(m, &p, i, 0, true, false);
        beam_block_backward(&p, &m->weights.layer[i], &m->saved[i], beam_rows(m->x[i], 0, t), d,
                            base || i > last);
    }
    if (beam_trains(m->weights.embed))
        beam_embed_grad(m->be, m->weights.embed->grad, d, beam_rows(m->id, 0, t));
    beam_release(&m->scratch, mark);
}
