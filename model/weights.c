#include "model/weights.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool beam_trains(const beam_param *p)
{
    return p && (p->flags & BEAM_TRAIN);
}

/* Appends a parameter without memory. The list was allocated large enough for every layer. */
static const beam_param *add(beam_model_weights *w, beam_backend *be, unsigned flags, int ndim,
                             const int64_t dim[], const char *fmt, ...)
{
    beam_param *p = &w->params.at[w->params.n++];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(p->name, sizeof p->name, fmt, args);
    va_end(args);
    BEAM_ASSERT(n > 0 && (size_t)n < sizeof p->name);
    p->value = p->grad = beam_view(NULL, be->real, ndim, dim);
    p->flags = flags;
    return p;
}

enum { PARAMS_PER_LAYER = 15, PARAMS_OUTSIDE = 3 };

static void add_attention(beam_model_weights *w, const beam_model_config *c, int layer, unsigned matrix,
                          unsigned vector, beam_backend *be)
{
    const int64_t d = c->hidden_size, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    w->layer[layer].attention = (beam_attention_weights){
        .q = add(w, be, matrix, BEAM_DIMS(q, d), "model.layers.%d.self_attn.q_proj.weight", layer),
        .k = add(w, be, matrix, BEAM_DIMS(kv, d), "model.layers.%d.self_attn.k_proj.weight", layer),
        .v = add(w, be, matrix, BEAM_DIMS(kv, d), "model.layers.%d.self_attn.v_proj.weight", layer),
        .o = add(w, be, matrix, BEAM_DIMS(d, q), "model.layers.%d.self_attn.o_proj.weight", layer),
        .q_norm =
            add(w, be, vector, BEAM_DIMS(c->head_dim), "model.layers.%d.self_attn.q_norm.weight", layer),
        .k_norm =
            add(w, be, vector, BEAM_DIMS(c->head_dim), "model.layers.%d.self_attn.k_norm.weight", layer),
    };
}

static void add_mask_gate(beam_model_weights *w, const beam_model_config *c, int layer, unsigned train,
                          beam_backend *be)
{
    const unsigned flags = BEAM_MASK_GATE | train;
    beam_mask_weights *m = &w->layer[layer].mlp.mask;
    m->weight = add(w, be, flags | BEAM_DECAY, BEAM_DIMS(c->experts, c->hidden_size),
                    "model.layers.%d.mlp.mask_gate.weight", layer);
    if (c->mask.bias)
        m->bias = add(w, be, flags, BEAM_DIMS(c->experts), "model.layers.%d.mlp.mask_gate.bias", layer);
    if (c->mask.router_features) {
        m->scale = add(w, be, flags, BEAM_DIMS(1), "model.layers.%d.mlp.mask_gate.router_scale", layer);
        m->rank_bias =
            add(w, be, flags, BEAM_DIMS(c->top_k), "model.layers.%d.mlp.mask_gate.rank_bias", layer);
    }
}

static void add_mlp(beam_model_weights *w, const beam_model_config *c, int layer, unsigned matrix,
                    beam_backend *be)
{
    beam_mlp_weights *mlp = &w->layer[layer].mlp;
    const int64_t d = c->hidden_size;
    if (!c->moe_layer[layer]) {
        const int64_t f = c->intermediate_size;
        mlp->gate_up = add(w, be, matrix, BEAM_DIMS(2 * f, d), "model.layers.%d.mlp.gate_up_proj", layer);
        mlp->down = add(w, be, matrix, BEAM_DIMS(d, f), "model.layers.%d.mlp.down_proj.weight", layer);
        return;
    }
    const int64_t e = c->experts, f = c->moe_intermediate_size;
    mlp->router = add(w, be, matrix, BEAM_DIMS(e, d), "model.layers.%d.mlp.gate.weight", layer);
    mlp->gate_up =
        add(w, be, matrix, BEAM_DIMS(e, 2 * f, d), "model.layers.%d.mlp.experts.gate_up_proj", layer);
    mlp->down = add(w, be, matrix, BEAM_DIMS(e, d, f), "model.layers.%d.mlp.experts.down_proj", layer);
}

static void add_all(beam_model_weights *w, const beam_model_config *c, beam_scope scope, beam_backend *be)
{
    const unsigned base = scope == BEAM_SCOPE_ALL ? BEAM_TRAIN : 0;
    const unsigned masks = scope != BEAM_SCOPE_NONE ? BEAM_TRAIN : 0;
    const int64_t d = c->hidden_size;
    w->embed = add(w, be, base | BEAM_DECAY, BEAM_DIMS(c->vocab_size, d), "model.embed_tokens.weight");
    for (int i = 0; i < c->layers; i++) {
        beam_layer_weights *layer = &w->layer[i];
        layer->attention_norm = add(w, be, base, BEAM_DIMS(d), "model.layers.%d.input_layernorm.weight", i);
        add_attention(w, c, i, base | BEAM_DECAY, base, be);
        layer->mlp_norm =
            add(w, be, base, BEAM_DIMS(d), "model.layers.%d.post_attention_layernorm.weight", i);
        add_mlp(w, c, i, base | BEAM_DECAY, be);
        if (c->moe_layer[i] && c->mask.present)
            add_mask_gate(w, c, i, masks, be);
    }
    w->norm = add(w, be, base, BEAM_DIMS(d), "model.norm.weight");
    w->head = c->tie_word_embeddings
                  ? w->embed
                  : add(w, be, base | BEAM_DECAY, BEAM_DIMS(c->vocab_size, d), "lm_head.weight");
}

/* Places values and gradients one after the other: first to measure, then over the real blocks. */
static void place(beam_model_weights *w, beam_arena *values, beam_arena *grads)
{
    for (int i = 0; i < w->params.n; i++) {
        beam_param *p = &w->params.at[i];
        p->value = beam_push(values, p->value.dtype, p->value.ndim, p->value.dim);
        if (p->flags & BEAM_TRAIN)
            p->grad = beam_push(grads, p->grad.dtype, p->grad.ndim, p->grad.dim);
    }
}

beam_status beam_model_weights_alloc(beam_model_weights *w, const beam_model_config *c, beam_scope scope,
                                     beam_backend *be)
{
    *w = (beam_model_weights){0};
    const size_t layers = (size_t)c->layers;
    w->layer = calloc(layers, sizeof *w->layer);
    w->params.at = calloc(layers * PARAMS_PER_LAYER + PARAMS_OUTSIDE, sizeof *w->params.at);
    if (!w->layer || !w->params.at) {
        beam_model_weights_free(w, be);
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the parameter list");
    }
    add_all(w, c, scope, be);

    beam_arena values = beam_arena_measure(), grads = beam_arena_measure();
    place(w, &values, &grads);
    w->value_block = beam_alloc(be, values.peak, "parameters");
    w->grad_block = grads.peak ? beam_alloc(be, grads.peak, "gradients") : NULL;
    if (be->status) {
        beam_model_weights_free(w, be);
        return be->status;
    }
    values = beam_arena_over(w->value_block, values.peak);
    grads = beam_arena_over(w->grad_block, grads.peak);
    place(w, &values, &grads);
    const int64_t reals = (int64_t)(grads.peak / beam_dtype_size(be->real));
    w->grads = beam_view(w->grad_block, be->real, BEAM_DIMS(reals));
    if (reals)
        beam_zero(be, w->grads);
    return BEAM_OK;
}

void beam_model_weights_free(beam_model_weights *w, beam_backend *be)
{
    beam_free(be, w->value_block);
    beam_free(be, w->grad_block);
    free(w->params.at);
    free(w->layer);
    *w = (beam_model_weights){0};
}
