/* What a forward pass came to: sums, token losses, mask statistics. */
#include "model/load.h"
#include "model/model_state.h"

/* Null experts are all the same, so a token's choice between them is no imbalance: each counts as a candidate
 * as often as they do on average. */
double *beam_model_fetch_load(beam_model *m)
{
    const int64_t experts = m->config.experts, nulls = m->config.null_experts;
    double *load = m->host, sum = 0;
    beam_download(m->be, load, m->load);
    for (int64_t i = 0; i < nulls; i++)
        sum += load[experts + i];
    for (int64_t i = 0; i < nulls; i++)
        load[experts + i] = sum / (double)nulls;
    return load;
}

/* E * sum over e of f_e P_e of the last forward pass. */
static double balance_loss(beam_model *m)
{
    const int64_t e = beam_router_rows(&m->config);
    const double *load = beam_model_fetch_load(m);
    double sum = 0;
    const double n = (double)(m->batch->counted_total * beam_moe_layers(&m->config));
    for (int64_t i = 0; i < e; i++)
        sum += load[i] * load[e + i];
    return n > 0 ? (double)e * sum / (n * n) : 0;
}

beam_status beam_model_token_losses(beam_model *m, double *out)
{
    const int64_t t = m->batch->tokens;
    if (m->be->wide == BEAM_F64) {
        beam_download(m->be, out, beam_rows(m->head.loss, 0, t));
        return beam_sync(m->be);
    }
    beam_download(m->be, m->host, beam_rows(m->head.loss, 0, t));
    for (int64_t i = 0; i < t; i++)
        out[i] = (double)((const float *)m->host)[i];
    return beam_sync(m->be);
}

beam_status beam_model_logits(beam_model *m, int64_t first, int64_t n, float *out)
{
    BEAM_ASSERT(first >= 0 && n >= 0 && first + n <= m->batch->tokens);
    const int64_t chunk = beam_head_chunk(&m->config), vocab = m->config.vocab_size;
    beam_status status = BEAM_OK;
    for (int64_t i = 0; !status && i < n; i += chunk) {
        const size_t mark = beam_mark(&m->scratch);
        const int64_t rows = n - i < chunk ? n - i : chunk;
        beam_tensor logits = beam_push(&m->scratch, m->be->real, BEAM_DIMS(rows, vocab));
        beam_head_logits(m->be, &m->weights, beam_rows(m->head.in, first + i, rows), logits);
        status = beam_tensor_get_f32(m->be, logits, out + i * vocab);
        beam_release(&m->scratch, mark);
    }
    return status;
}

/* Of the first n numbers that were downloaded. */
static double sum_of(const beam_model *m, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += m->be->wide == BEAM_F64 ? ((const double *)m->host)[i] : (double)((const float *)m->host)[i];
    return sum;
}

beam_status beam_model_result(beam_model *m, beam_forward_result *out)
{
    const int64_t t = m->batch->tokens;
    *out = (beam_forward_result){.targets = m->batch->targets};
    beam_download(m->be, m->host, beam_rows(m->head.loss, 0, t));
    out->loss = sum_of(m, t);
    beam_download(m->be, m->host, beam_rows(m->head.correct, 0, t));
    for (int64_t i = 0; i < t; i++)
        out->correct += ((const uint8_t *)m->host)[i];
    if (m->distilled) {
        beam_download(m->be, m->host, beam_rows(m->head.divergence, 0, t));
        out->divergence = sum_of(m, t);
    }
    if (m->united) {
        double sum[2];
        beam_download(m->be, sum, m->union_sum);
        out->unions = sum[0];
    }
    if (m->load.data)
        out->balance = balance_loss(m);
    return beam_sync(m->be);
}

beam_status beam_model_take_stats(beam_model *m, double *out)
{
    if (out)
        beam_download(m->be, out, m->stats);
    beam_zero(m->be, m->stats);
    return beam_sync(m->be);
}

double beam_stats_mean(const beam_model_config *c, const double *stats, int column)
{
    const int64_t layers = beam_moe_layers(c), columns = BEAM_STAT_EXPERTS + c->experts;
    double sum = 0; /* divided last, so that K in every layer gives K without rounding */
    for (int64_t i = 0; i < layers; i++) {
        const double *row = stats + i * columns;
        sum += row[BEAM_STAT_TOKENS] > 0 ? row[column] / row[BEAM_STAT_TOKENS] : 0;
    }
    return layers ? sum / (double)layers : 0;
}

beam_memory_plan beam_model_memory(const beam_model *m)
{
    beam_memory_plan plan = {.gradients = beam_bytes(m->weights.grads),
                             .activations = m->activation_bytes,
                             .scratch = m->scratch.capacity};
    for (int i = 0; i < m->weights.params.n; i++)
        plan.parameters += beam_bytes(m->weights.params.at[i].value);
    return plan;
}
