/* What a decoder's steps read and run. */
#include <stdio.h>
#include <string.h>

#include "serve/decoder_state.h"

static bool is_expert(const beam_param *p)
{
    return strstr(p->name, ".mlp.experts.") != NULL;
}

/* The embedding's rows count only where it is the head too. */
void beam_decoder_count_fixed(beam_decoder *d)
{
    const beam_model_weights *w = d->weights;
    for (int i = 0; i < w->params.n; i++) {
        const beam_param *p = &w->params.at[i];
        if (is_expert(p) || (p == w->embed && w->embed != w->head))
            continue;
        d->fixed_bytes += (double)beam_bytes(p->value);
        int layer = 0;
        if (strstr(p->name, ".mlp.") && sscanf(p->name, "model.layers.%d.", &layer) == 1 &&
            d->config.moe_layer[layer])
            d->fixed_moe_bytes += (double)beam_bytes(p->value);
    }
}

/* Kept pairs and different experts of a layer; bytes of the latter. */
static double count_experts(beam_decoder *d, const int32_t *expert, const beam_mlp_weights *w)
{
    int64_t distinct = 0;
    memset(d->seen, 0, (size_t)d->config.experts);
    for (int64_t i = 0; i < d->n * d->config.top_k; i++) {
        if (expert[i] < 0)
            continue;
        d->costs.kept++;
        distinct += !d->seen[expert[i]];
        d->seen[expert[i]] = 1;
    }
    const size_t all = beam_bytes(w->gate_up->value) + beam_bytes(w->down->value);
    d->costs.distinct += distinct;
    return (double)distinct * (double)all / (double)d->config.experts;
}

/* Keys and values that the step's tokens look at, counted once per token: sequences share none. */
static double cache_bytes(const beam_decoder *d, const beam_decoder_token *token)
{
    double bytes = 0;
    for (int64_t i = 0; i < d->config.layers; i++) {
        const int64_t window = d->weights->layer[i].attention.window;
        int64_t positions = 0;
        for (int64_t t = 0; t < d->n; t++) {
            const int64_t seen = token[t].position + 1;
            positions += window > 0 && seen > window ? window : seen;
        }
        bytes += beam_kv_row_bytes(d->cache.layer[i]) * (double)positions;
    }
    return bytes;
}

void beam_decoder_count(beam_decoder *d, const beam_decoder_token *token)
{
    double experts = 0;
    for (int64_t i = 0, index = 0; i < d->config.layers; i++)
        if (d->config.moe_layer[i])
            experts += count_experts(d, beam_decoder_experts(d, index++, 0), &d->weights->layer[i].mlp);
    d->costs.moe_bytes += d->fixed_moe_bytes + experts;
    d->costs.bytes += d->fixed_bytes + experts + cache_bytes(d, token);
    d->costs.tokens += d->n;
    d->costs.steps++;
}
