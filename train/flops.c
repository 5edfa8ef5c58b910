#include "train/flops.h"

/* All functions: operations of one token in one layer. A matrix costs two per element. */

static double projections(const beam_model_config *c)
{
    const double d = (double)c->hidden_size, h = (double)c->heads;
    const double q = h * (double)c->head_dim, out = h * (double)c->value_dim * d;
    if (c->kv_rank == 0)
        return 2 * (q * d + 2 * (double)(c->kv_heads * c->head_dim) * d + out);
    const double rotary = (double)c->rotary_dim, rank = (double)c->kv_rank,
                 compressed = (double)c->query_rank;
    const double queries = compressed > 0 ? compressed * (d + q) : q * d;
    const double up = q - h * rotary + h * (double)c->value_dim;
    return 2 * (queries + (rank + rotary) * d + up * rank + out);
}

/* Tokens that one of a sequence sees on average, itself included. */
static double seen(const beam_model_config *c, int64_t layer, double sequence)
{
    const double window = (double)c->window;
    if (!c->windowed[layer] || sequence <= window)
        return (sequence + 1) / 2;
    return window - window * (window - 1) / (2 * sequence);
}

/* `scores` products with a query or key, `values` with a value, for every token that is seen. */
static double attention(const beam_model_config *c, double visible, double scores, double values)
{
    return 2 * visible * (double)c->heads * (scores * (double)c->head_dim + values * (double)c->value_dim);
}

static double mlp(const beam_model_config *c, int64_t width)
{
    return 2.0 * 3.0 * (double)(c->hidden_size * width);
}

static double shared(const beam_model_config *c)
{
    return mlp(c, c->shared_size) + (c->shared_gate ? 2.0 * (double)c->hidden_size : 0);
}

static double router(const beam_model_config *c)
{
    return 2.0 * (double)(c->hidden_size * beam_router_rows(c));
}

static void add_moe(beam_flops *f, const beam_model_config *c, beam_scope scope, bool below, double active)
{
    const double masks = c->mask.present ? 2.0 * (double)(c->hidden_size * c->experts) : 0;
    const double expert = mlp(c, c->moe_intermediate_size);
    const double wgrad = scope == BEAM_SCOPE_ALL ? 1 : 0;
    f->forward += active * expert + shared(c) + router(c) + masks;
    if (scope != BEAM_SCOPE_NONE && c->mask.present)
        f->backward += ((double)c->top_k - active + (below ? 0 : active / 3)) * expert;
    if (below)
        f->backward += (active * expert + shared(c)) * (1 + wgrad) + router(c) + masks;
    if (scope >= BEAM_SCOPE_MASKS)
        f->backward += masks;
    if (scope >= BEAM_SCOPE_ROUTERS)
        f->backward += router(c);
}

static void add_dense(beam_flops *f, const beam_model_config *c, beam_scope scope, bool below)
{
    f->forward += mlp(c, c->intermediate_size);
    if (below)
        f->backward += mlp(c, c->intermediate_size) * (scope == BEAM_SCOPE_ALL ? 2 : 1);
}

beam_flops beam_flops_of_mixture(const beam_model_config *c, beam_scope scope, double active)
{
    beam_flops f = {0};
    add_moe(&f, c, scope, true, active);
    return f;
}

beam_flops beam_flops_of(const beam_model_config *c, beam_scope scope, double sequence, double active)
{
    const double head = 2.0 * (double)(c->hidden_size * c->vocab_size);
    const double wgrad = scope == BEAM_SCOPE_ALL ? 1 : 0;
    beam_flops f = {.forward = head, .backward = scope == BEAM_SCOPE_NONE ? 0 : head * (1 + wgrad)};
    bool below = scope == BEAM_SCOPE_ALL; /* something below this layer's feed-forward part trains */
    for (int64_t i = 0; i < c->layers; i++) {
        const double visible = seen(c, i, sequence);
        f.forward += projections(c) + attention(c, visible, 1, 1);
        if (below) /* of attention's five products, one computes the scores again */
            f.backward += projections(c) * (1 + wgrad) + attention(c, visible, 3, 2);
        if (c->moe_layer[i])
            add_moe(&f, c, scope, below, active);
        else
            add_dense(&f, c, scope, below);
        below = below || (c->moe_layer[i] && scope != BEAM_SCOPE_NONE);
    }
    return f;
}
