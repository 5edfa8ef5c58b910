#include "model/weights.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/families/families.h"

bool beam_trains(const beam_param *p)
{
    return p && (p->flags & BEAM_TRAIN);
}

/* What a list under construction needs to know. */
typedef struct {
    beam_model_weights *w;
    const beam_model_config *c;
    beam_dtype real;
    unsigned matrix, vector, router,
        gate; /* flags: of the base model's matrices, vectors, routers; of gates */
} builder;

/* Appends a parameter without memory. The list was allocated large enough for every layer. */
static beam_param *append(const builder *b, unsigned flags, const char *fmt, va_list args)
{
    beam_param *p = &b->w->params.at[b->w->params.n++];
    const int n = vsnprintf(p->name, sizeof p->name, fmt, args);
    BEAM_ASSERT(n > 0 && (size_t)n < sizeof p->name);
    p->flags = flags;
    return p;
}

static const beam_param *add(const builder *b, unsigned flags, int ndim, const int64_t dim[], const char *fmt,
                             ...)
{
    va_list args;
    va_start(args, fmt);
    beam_param *p = append(b, flags, fmt, args);
    va_end(args);
    p->value = beam_view(NULL, b->real, ndim, dim);
    p->grad = beam_view(NULL, beam_wide_of(b->real), ndim, dim);
    return p;
}

/* One of a router or gate. */
static const beam_param *add_wide(const builder *b, unsigned flags, int ndim, const int64_t dim[],
                                  const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    beam_param *p = append(b, flags, fmt, args);
    va_end(args);
    p->value = p->grad = beam_view(NULL, beam_wide_of(b->real), ndim, dim);
    return p;
}

static const beam_param *add_matrix(const builder *b, int64_t rows, int64_t columns, int layer,
                                    const char *name)
{
    return add(b, b->matrix, BEAM_DIMS(rows, columns), "model.layers.%d.%s", layer, name);
}

static const beam_param *add_vector(const builder *b, int64_t n, int layer, const char *name)
{
    return add(b, b->vector, BEAM_DIMS(n), "model.layers.%d.%s", layer, name);
}

enum { PARAMS_PER_LAYER = 24, PARAMS_OUTSIDE = 3 };

static void add_grouped(const builder *b, int i, beam_attention_weights *w)
{
    const beam_model_config *c = b->c;
    const int64_t d = c->hidden_size, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    const bool whole = c->qk_norm == BEAM_QK_NORM_PROJECTION;
    w->q = add_matrix(b, q, d, i, "self_attn.q_proj.weight");
    w->k = add_matrix(b, kv, d, i, "self_attn.k_proj.weight");
    w->v = add_matrix(b, kv, d, i, "self_attn.v_proj.weight");
    w->o = add_matrix(b, d, q, i, "self_attn.o_proj.weight");
    if (c->qk_norm != BEAM_QK_NORM_NONE) {
        w->q_norm = add_vector(b, whole ? q : c->head_dim, i, "self_attn.q_norm.weight");
        w->k_norm = add_vector(b, whole ? kv : c->head_dim, i, "self_attn.k_norm.weight");
    }
    if (c->qkv_bias) {
        w->q_bias = add_vector(b, q, i, "self_attn.q_proj.bias");
        w->k_bias = add_vector(b, kv, i, "self_attn.k_proj.bias");
        w->v_bias = add_vector(b, kv, i, "self_attn.v_proj.bias");
    }
    if (c->output_bias)
        w->o_bias = add_vector(b, d, i, "self_attn.o_proj.bias");
}

static void add_latent(const builder *b, int i, beam_attention_weights *w)
{
    const beam_model_config *c = b->c;
    const int64_t d = c->hidden_size, q = c->heads * c->head_dim, r = c->kv_rank;
    if (c->query_rank > 0) {
        w->q_down = add_matrix(b, c->query_rank, d, i, "self_attn.q_a_proj.weight");
        w->q_down_norm = add_vector(b, c->query_rank, i, "self_attn.q_a_layernorm.weight");
        w->q = add_matrix(b, q, c->query_rank, i, "self_attn.q_b_proj.weight");
    } else {
        w->q = add_matrix(b, q, d, i, "self_attn.q_proj.weight");
    }
    const int64_t up = c->heads * (c->head_dim - c->rotary_dim + c->value_dim);
    w->kv_down = add_matrix(b, r + c->rotary_dim, d, i, "self_attn.kv_a_proj_with_mqa.weight");
    w->kv_down_norm = add_vector(b, r, i, "self_attn.kv_a_layernorm.weight");
    w->kv_up = add_matrix(b, up, r, i, "self_attn.kv_b_proj.weight");
    w->o = add_matrix(b, d, c->heads * c->value_dim, i, "self_attn.o_proj.weight");
}

static void add_mask_gate(const builder *b, int i, beam_mask_weights *m)
{
    const beam_model_config *c = b->c;
    const int64_t e = c->experts, d = c->hidden_size;
    const unsigned vector = b->gate, matrix = b->gate | BEAM_DECAY;
    const unsigned weight = c->mask.fixed_weight ? BEAM_MASK_GATE : matrix;
    m->weight = add_wide(b, weight, BEAM_DIMS(e, d), "model.layers.%d.mlp.mask_gate.weight", i);
    if (c->mask.bias)
        m->bias = add_wide(b, vector, BEAM_DIMS(e), "model.layers.%d.mlp.mask_gate.bias", i);
    if (c->mask.router_features) {
        m->scale = add_wide(b, vector, BEAM_DIMS(1), "model.layers.%d.mlp.mask_gate.router_scale", i);
        m->rank_bias = add_wide(b, vector, BEAM_DIMS(c->top_k), "model.layers.%d.mlp.mask_gate.rank_bias", i);
    }
    if (c->mask.give_back)
        m->given = add_wide(b, matrix, BEAM_DIMS(e, d), "model.layers.%d.mlp.mask_gate.dropped_output", i);
}

static void add_shared_expert(const builder *b, int i, beam_mlp_weights *mlp)
{
    const beam_model_config *c = b->c;
    const int64_t d = c->hidden_size, s = c->shared_size;
    const char *name = beam_family_of(c)->names.shared;
    mlp->shared_gate_up =
        add(b, b->matrix, BEAM_DIMS(2 * s, d), "model.layers.%d.mlp.%s.gate_up_proj", i, name);
    mlp->shared_down = add(b, b->matrix, BEAM_DIMS(d, s), "model.layers.%d.mlp.%s.down_proj.weight", i, name);
    if (c->shared_gate)
        mlp->shared_gate =
            add_wide(b, b->matrix, BEAM_DIMS(1, d), "model.layers.%d.mlp.%s_gate.weight", i, name);
}

static void add_mlp(const builder *b, int i, beam_mlp_weights *mlp)
{
    const beam_model_config *c = b->c;
    const int64_t d = c->hidden_size, e = beam_held_experts(c), f = c->moe_intermediate_size;
    if (!c->moe_layer[i]) {
        mlp->gate_up = add_matrix(b, 2 * c->intermediate_size, d, i, "mlp.gate_up_proj");
        mlp->down = add_matrix(b, d, c->intermediate_size, i, "mlp.down_proj.weight");
        return;
    }
    mlp->router =
        add_wide(b, b->router, BEAM_DIMS(beam_router_rows(c), d), "model.layers.%d.mlp.gate.weight", i);
    mlp->gate_up = add(b, b->matrix, BEAM_DIMS(e, 2 * f, d), "model.layers.%d.mlp.experts.gate_up_proj", i);
    mlp->down = add(b, b->matrix, BEAM_DIMS(e, d, f), "model.layers.%d.mlp.experts.down_proj", i);
    if (c->shared_size > 0)
        add_shared_expert(b, i, mlp);
    if (c->mask.present)
        add_mask_gate(b, i, &mlp->mask);
}

static void add_all(const builder *b)
{
    const beam_model_config *c = b->c;
    beam_model_weights *w = b->w;
    const int64_t d = c->hidden_size;
    w->embed = add(b, b->matrix, BEAM_DIMS(c->vocab_size, d), "model.embed_tokens.weight");
    for (int i = 0; i < c->layers; i++) {
        beam_layer_weights *layer = &w->layer[i];
        layer->attention_norm = add_vector(b, d, i, "input_layernorm.weight");
        layer->attention.window = c->windowed[i] ? c->window : 0;
        if (c->kv_rank > 0)
            add_latent(b, i, &layer->attention);
        else
            add_grouped(b, i, &layer->attention);
        layer->mlp_norm = add_vector(b, d, i, "post_attention_layernorm.weight");
        add_mlp(b, i, &layer->mlp);
    }
    w->norm = add(b, b->vector, BEAM_DIMS(d), "model.norm.weight");
    w->head =
        c->tie_word_embeddings ? w->embed : add(b, b->matrix, BEAM_DIMS(c->vocab_size, d), "lm_head.weight");
}

static bool has_masters(const beam_model_weights *w)
{
    return w->stored.at != w->params.at;
}

static void place_values(beam_model_weights *w, beam_arena *values, bool trained)
{
    for (int i = 0; i < w->stored.n; i++) {
        beam_param *p = &w->stored.at[i];
        if (beam_trains(p) == trained)
            p->value = beam_push(values, p->value.dtype, p->value.ndim, p->value.dim);
    }
}

/* What is rounded gets a place of its own; all else is the stored parameter. */
static void place_rounded(beam_model_weights *w, beam_arena *values)
{
    for (int i = 0; i < w->params.n; i++) {
        beam_param *p = &w->params.at[i];
        const beam_tensor value = p->value;
        *p = w->stored.at[i];
        if (value.dtype != p->value.dtype)
            p->value = beam_push(values, value.dtype, value.ndim, value.dim);
    }
}

/* Places values and gradients one after the other: first to measure, then over the real blocks. What trains
 * comes first, so that its values stand as its gradients do. */
static void place(beam_model_weights *w, beam_arena *values, beam_arena *grads)
{
    place_values(w, values, true);
    place_values(w, values, false);
    for (int i = 0; i < w->stored.n; i++) {
        beam_param *p = &w->stored.at[i];
        if (beam_trains(p))
            p->grad = beam_push(grads, p->grad.dtype, p->grad.ndim, p->grad.dim);
    }
    if (has_masters(w))
        place_rounded(w, values);
}

/* The list that is stored, after that of what computes. */
static beam_status list_stored(beam_model_weights *w, bool masters)
{
    w->stored = w->params;
    if (!masters)
        return BEAM_OK;
    beam_param *at = malloc((size_t)w->params.n * sizeof *at);
    if (!at)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the parameter list");
    memcpy(at, w->params.at, (size_t)w->params.n * sizeof *at);
    for (int i = 0; i < w->params.n; i++)
        if (beam_trains(&at[i]))
            at[i].value.dtype = at[i].grad.dtype;
    w->stored.at = at;
    return BEAM_OK;
}

void beam_model_weights_round(const beam_model_weights *w, beam_backend *be)
{
    for (int i = 0; i < w->params.n; i++) {
        const beam_tensor value = w->params.at[i].value, stored = w->stored.at[i].value;
        if (value.dtype != stored.dtype)
            beam_copy(be, value, stored);
    }
}

beam_status beam_model_weights_list(beam_model_weights *w, const beam_model_config *c, beam_scope scope,
                                    beam_dtype real)
{
    const unsigned base = scope == BEAM_SCOPE_ALL ? BEAM_TRAIN : 0;
    const unsigned routers = scope >= BEAM_SCOPE_ROUTERS ? BEAM_TRAIN : 0;
    const unsigned masks = scope >= BEAM_SCOPE_MASKS ? BEAM_TRAIN : 0;
    const size_t layers = (size_t)c->layers;
    *w = (beam_model_weights){.layer = calloc(layers, sizeof *w->layer)};
    w->params.at = calloc(layers * PARAMS_PER_LAYER + PARAMS_OUTSIDE, sizeof *w->params.at);
    if (!w->layer || !w->params.at) {
        beam_model_weights_unlist(w);
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the parameter list");
    }
    add_all(&(builder){.w = w,
                       .c = c,
                       .real = real,
                       .matrix = base | BEAM_DECAY,
                       .vector = base,
                       .router = routers | BEAM_DECAY,
                       .gate = BEAM_MASK_GATE | masks});
    const beam_status status = list_stored(w, scope == BEAM_SCOPE_ALL && real != beam_wide_of(real));
    if (status)
        beam_model_weights_unlist(w);
    return status;
}

void beam_model_weights_unlist(beam_model_weights *w)
{
    if (has_masters(w))
        free(w->stored.at);
    free(w->params.at);
    free(w->layer);
    *w = (beam_model_weights){0};
}

void beam_model_weights_measure(beam_model_weights *w, size_t *values, size_t *grads)
{
    /* An address that nobody uses, so that parts of a parameter have one too. */
    void *nowhere = (void *)(uintptr_t)BEAM_ALIGN;
    beam_arena value_arena = beam_arena_over(nowhere, SIZE_MAX / 2), grad_arena = value_arena;
    place(w, &value_arena, &grad_arena);
    *values = value_arena.peak;
    *grads = grad_arena.peak;
}

beam_status beam_model_weights_place(beam_model_weights *w, beam_backend *be)
{
    size_t values, grads;
    beam_model_weights_measure(w, &values, &grads);
    w->value_block = beam_alloc(be, values, "parameters");
    w->grad_block = grads ? beam_alloc(be, grads, "gradients") : NULL;
    if (be->status) {
        beam_model_weights_free(w, be);
        return be->status;
    }
    beam_arena value_arena = beam_arena_over(w->value_block, values);
    beam_arena grad_arena = beam_arena_over(w->grad_block, grads);
    place(w, &value_arena, &grad_arena);
    const int64_t n = (int64_t)(grads / beam_dtype_size(be->wide));
    w->grads = beam_view(w->grad_block, be->wide, BEAM_DIMS(n));
    w->trained = beam_view(w->value_block, be->wide, BEAM_DIMS(n));
    if (n) {
        beam_zero(be, w->grads);
        beam_zero(be, w->trained);
    }
    return BEAM_OK;
}

int64_t beam_model_weights_offset(const beam_model_weights *w, const beam_param *p)
{
    const beam_param *const end = w->params.at + w->params.n;
    while (p < end && !beam_trains(p))
        p++;
    if (p == end)
        return beam_count(w->grads);
    const ptrdiff_t bytes = (const char *)p->grad.data - (const char *)w->grads.data;
    return bytes / (ptrdiff_t)beam_dtype_size(w->grads.dtype);
}

beam_status beam_model_weights_alloc(beam_model_weights *w, const beam_model_config *c, beam_scope scope,
                                     beam_backend *be)
{
    BEAM_TRY(beam_model_weights_list(w, c, scope, be->real));
    return beam_model_weights_place(w, be);
}

void beam_model_weights_free(beam_model_weights *w, beam_backend *be)
{
    beam_free(be, w->value_block);
    beam_free(be, w->grad_block);
    beam_model_weights_unlist(w);
}
