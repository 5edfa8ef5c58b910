#include "train/flops.h"

static double projections(const beam_model_config *c)
{
    return 2.0 * (double)c->hidden_size * (double)c->head_dim * (double)(2 * c->heads + 2 * c->kv_heads);
}

/* Two products (scores, values) over half the sequence on average. */
static double attention(const beam_model_config *c, double sequence)
{
    return 2.0 * 2.0 * sequence / 2 * (double)(c->heads * c->head_dim);
}

static double expert(const beam_model_config *c)
{
    return 2.0 * 3.0 * (double)(c->hidden_size * c->moe_intermediate_size);
}

static double gates(const beam_model_config *c)
{
    return 2.0 * (double)(c->hidden_size * c->experts) * (c->mask.present ? 2 : 1);
}

beam_flops beam_flops_train(const beam_model_config *c, beam_scope scope, double sequence, double active)
{
    const double d = (double)c->hidden_size, head = 2.0 * d * (double)c->vocab_size;
    const double dense = 2.0 * 3.0 * d * (double)c->intermediate_size;
    const double wgrad = scope == BEAM_SCOPE_ALL ? 1 : 0;
    beam_flops f = {.forward = head, .backward = head * (1 + wgrad)};
    bool below = scope == BEAM_SCOPE_ALL; /* something below this layer's feed-forward part trains */
    for (int64_t i = 0; i < c->layers; i++) {
        const bool moe = c->moe_layer[i];
        f.forward += projections(c) + attention(c, sequence);
        f.forward += moe ? (double)c->top_k * expert(c) + gates(c) : dense;
        if (below) {
            /* Attention's backward has five products, of which one recomputes the scores. */
            f.backward += projections(c) * (1 + wgrad) + 2.5 * attention(c, sequence);
            f.backward += (moe ? active * expert(c) : dense) * (1 + wgrad);
        }
        if (moe && scope != BEAM_SCOPE_NONE)
            f.backward += gates(c) * ((below ? 1 : 0) + (scope == BEAM_SCOPE_ALL ? 1 : 0.5));
        below = below || (moe && scope != BEAM_SCOPE_NONE);
    }
    return f;
}
