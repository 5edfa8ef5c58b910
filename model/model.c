#include "model/model.h"

#include <stdlib.h>

#include "model/model_state.h"
#include "model/rope.h"

static beam_status allocate(beam_model *m)
{
    beam_backend *be = m->be;
    if (m->options.expert_ranks > 1)
        BEAM_TRY(beam_expert_parallel_open(&m->parallel));
    BEAM_TRY(beam_model_weights_alloc(&m->weights, &m->config, m->options.scope, be));
    beam_arena a = beam_arena_measure();
    beam_model_layout(m, &a);
    m->activation_bytes = a.peak;
    m->activation_block = beam_alloc(be, a.peak, "activations");
    BEAM_TRY(be->status);
    a = beam_arena_over(m->activation_block, a.peak);
    beam_model_layout(m, &a);
    BEAM_TRY(beam_model_stage(m, beam_bytes(m->report)));
    const size_t scratch = beam_model_measure_scratch(m);
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
    beam_rope_table(cosine, sine, &m->config.rope);
    beam_upload(m->be, m->cosine, cosine.data);
    beam_upload(m->be, m->sine, sine.data);
    free(host);
    return m->be->status;
}

beam_status beam_model_open(beam_model **out, const beam_model_config *config,
                            const beam_model_options *options, beam_backend *be)
{
    BEAM_ASSERT(options->max_tokens > 0);
    *out = NULL;
    beam_model *m = calloc(1, sizeof *m);
    if (!m)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the model");
    beam_status status = beam_model_prepare(m, config, options, be);
    if (!status)
        status = allocate(m);
    if (!status)
        status = upload_rope(m);
    if (status) {
        beam_model_close(m);
        return status;
    }
    beam_zero(be, m->report);
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
    beam_model_unprepare(m);
    free(m);
}

const beam_model_config *beam_model_config_of(const beam_model *m)
{
    return &m->config;
}

beam_params beam_model_params(beam_model *m)
{
    return m->weights.stored;
}

void beam_model_round(beam_model *m)
{
    beam_model_weights_round(&m->weights, m->be);
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

beam_tensor beam_model_values(beam_model *m)
{
    return m->weights.trained;
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

void beam_model_shift_gates(beam_model *m, beam_tensor by)
{
    for (int64_t i = 0; i < m->config.layers; i++) {
        const beam_param *bias = m->weights.layer[i].mlp.mask.bias;
        if (bias)
            beam_add_bias(m->be, beam_reshape(bias->value, BEAM_DIMS(m->config.experts, 1)), by);
    }
}

void beam_model_observe(beam_model *m, beam_moe_observer observer, void *context)
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
        .parallel = m->options.expert_ranks > 1 ? &m->parallel : NULL,
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

static void block_forward(beam_model *m, const beam_pass *p, int i, beam_tensor y, int moe)
{
    const int64_t t = m->batch->tokens;
    layout_for(m, t, i);
    beam_block_forward(p, &m->weights.layer[i], &m->saved[i], beam_rows(m->x[i], 0, t), y, moe);
}

/* Embedding and layers. */
static void layers_forward(beam_model *m, const beam_pass *p)
{
    const int64_t t = m->batch->tokens;
    beam_embed(m->be, beam_rows(m->x[0], 0, t), m->weights.embed->value, beam_rows(m->id, 0, t));
    for (int i = 0, moe = 0; i < m->config.layers; moe += m->config.moe_layer[i++])
        block_forward(m, p, i, beam_rows(m->x[i + 1], 0, t), moe);
}

void beam_model_keep_teacher(beam_model *m)
{
    const int64_t e = beam_router_rows(&m->config), d = m->config.hidden_size;
    for (int64_t i = 0, moe = 0; i < m->config.layers && m->routers.data; i++)
        if (m->config.moe_layer[i])
            beam_copy(m->be, beam_reshape(beam_rows(m->routers, moe++, 1), BEAM_DIMS(e, d)),
                      m->weights.layer[i].mlp.router->value);
}

/* What the unmasked model says to the batch: kept by the head for the pass that follows. */
static void teach(beam_model *m)
{
    beam_pass p = begin(m);
    p.rule.masks = false;
    p.rule.form = BEAM_MASK_HARD;
    p.rule.prune = beam_no_pruning(&m->config);
    p.routers = m->routers;
    layers_forward(m, &p);
    beam_head_teach(&p, &m->weights, &m->head, beam_rows(m->x[m->config.layers], 0, m->batch->tokens));
}

void beam_model_forward(beam_model *m, const beam_batch *batch, double grad_scale)
{
    BEAM_ASSERT(grad_scale == 0 || beam_model_trains(m));
    upload_batch(m, batch);
    m->united = m->reported = false;
    m->distilled = grad_scale != 0 && m->options.distill.weight > 0;
    if (m->distilled)
        teach(m);
    beam_pass p = begin(m);
    p.stats = m->stats;
    p.observer = m->observer;
    p.observer_context = m->observer_context;
    p.load = m->load;
    if (p.load.data)
        beam_zero(m->be, p.load);
    layers_forward(m, &p);
    const beam_distill_args args = {.weight = m->options.distill.weight,
                                    .temperature = m->options.distill.temperature,
                                    .grad_scale = grad_scale,
                                    .want_grad = grad_scale != 0};
    beam_head_forward(&p, &m->weights, &m->head, beam_rows(m->x[m->config.layers], 0, batch->tokens),
                      beam_rows(m->target, 0, batch->tokens), &args);
}

beam_status beam_model_idle(beam_model *m)
{
    const beam_moe_observer observer = m->observer;
    int32_t zero = 0, none = -1, first[] = {0, 1};
    uint8_t counted = 0;
    const beam_batch batch = {.tokens = 1,
                              .id = &zero,
                              .target = &none,
                              .position = &zero,
                              .counted = &counted,
                              .first = first,
                              .sequences = 1};
    m->observer = NULL;
    beam_model_forward(m, &batch, 0);
    m->observer = observer;
    m->batch = NULL;
    return beam_sync(m->be);
}

/* dprob[e] = balance * E * f_e / N: the gradient of E * sum over e of f_e P_e with respect to any one
 * probability, f_e the share of (token, layer) that have e as a candidate, P_e its mean probability, N their
 * number. */
static void balance_gradient(beam_model *m, beam_pass *p, double balance)
{
    if (!m->load.data || balance == 0)
        return;
    const int64_t e = beam_router_rows(&m->config);
    double *load = beam_model_fetch_load(m); /* [2,E+N], then the gradient */
    void *gradient = load + 2 * e;
    const double n = (double)(m->batch->counted_total * beam_moe_layers(&m->config));
    for (int64_t i = 0; i < e; i++) {
        const double g = n > 0 ? balance * (double)e * load[i] / (n * n) : 0;
        if (m->be->wide == BEAM_F64)
            ((double *)gradient)[i] = g;
        else
            ((float *)gradient)[i] = (float)g;
    }
    beam_upload(m->be, m->dprob, gradient);
    p->dprob = m->dprob;
}

/* The gradients of `p` and of all parameters behind it are complete. */
static void announce(const beam_model *m, const beam_backward_args *args, const beam_param *p)
{
    if (args->final)
        args->final(args->context, beam_model_weights_offset(&m->weights, p));
}

void beam_model_backward(beam_model *m, const beam_backward_args *args)
{
    /* Multiplying the kept weights is for the pruning baselines; it has no backward. */
    BEAM_ASSERT(beam_model_trains(m) && m->batch &&
                (m->rule.masks || m->rule.prune.anchor >= m->config.top_k));
    const int64_t t = m->batch->tokens;
    const bool base = m->options.scope == BEAM_SCOPE_ALL;
    beam_pass p = begin(m);
    p.terms = args->masks;
    m->united = p.rule.masks && args->masks.union_weight > 0;
    if (m->united) {
        p.union_sum = m->union_sum;
        beam_zero(m->be, m->union_sum);
    }
    balance_gradient(m, &p, args->balance);

    const size_t mark = beam_mark(&m->scratch);
    beam_tensor d = beam_push(&m->scratch, m->be->real, BEAM_DIMS(t, m->config.hidden_size));
    beam_head_backward(&p, &m->weights, &m->head, beam_rows(m->x[m->config.layers], 0, t), d);
    announce(m, args, m->weights.norm);       /* and the head, whose gradient the forward pass made */
    const int last = base ? 0 : m->first_moe; /* nothing below trains */
    for (int i = (int)m->config.layers - 1; i >= last; i--) {
        if (m->options.checkpointing)
            block_forward(m, &p, i, (beam_tensor){0}, 0);
        beam_block_backward(&p, &m->weights.layer[i], &m->saved[i], beam_rows(m->x[i], 0, t), d,
                            base || i > last);
        announce(m, args, m->weights.layer[i].attention_norm);
    }
    if (beam_trains(m->weights.embed))
        beam_embed_grad(m->be, m->weights.embed->grad, d, beam_rows(m->id, 0, t));
    announce(m, args, m->weights.params.at);
    beam_release(&m->scratch, mark);
}
