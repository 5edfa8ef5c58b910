/* What a forward pass came to: sums, token losses, mask statistics. */
#include <string.h>

#include "model/load.h"
#include "model/model_state.h"

/* Null experts are all the same, so a token's choice between them is no imbalance: each counts as a candidate
 * as often as they do on average. */
static void share_nulls(const beam_model *m, double *load)
{
    const int64_t experts = m->config.experts, nulls = m->config.null_experts;
    double sum = 0;
    for (int64_t i = 0; i < nulls; i++)
        sum += load[experts + i];
    for (int64_t i = 0; i < nulls; i++)
        load[experts + i] = sum / (double)nulls;
}

double *beam_model_fetch_load(beam_model *m)
{
    double *load = m->host;
    m->reported = false; /* overwritten */
    beam_download(m->be, load, m->load);
    share_nulls(m, load);
    return load;
}

/* All that a pass says to the host comes in one transfer. */
static void fetch_report(beam_model *m)
{
    if (m->reported)
        return;
    beam_download(m->be, m->host, m->report);
    m->reported = true;
}

/* Where a tensor of the report stands in the host's copy. */
static void *reported(const beam_model *m, beam_tensor t)
{
    return (char *)m->host + ((const char *)t.data - (const char *)m->report.data);
}

/* E * sum over e of f_e P_e of the last forward pass. */
static double balance_loss(beam_model *m)
{
    const int64_t e = beam_router_rows(&m->config);
    double *load = reported(m, m->load), sum = 0;
    const double n = (double)(m->batch->counted_total * beam_moe_layers(&m->config));
    share_nulls(m, load);
    for (int64_t i = 0; i < e; i++)
        sum += load[i] * load[e + i];
    return n > 0 ? (double)e * sum / (n * n) : 0;
}

static double loss_at(const beam_model *m, const void *losses, int64_t i)
{
    return m->be->wide == BEAM_F64 ? ((const double *)losses)[i] : (double)((const float *)losses)[i];
}

beam_status beam_model_token_losses(beam_model *m, double *out)
{
    fetch_report(m);
    const void *losses = reported(m, m->head.loss);
    for (int64_t i = 0; i < m->batch->tokens; i++)
        out[i] = loss_at(m, losses, i);
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

/* Over the tokens of the batch. */
static double sum_of(const beam_model *m, beam_tensor losses)
{
    const void *at = reported(m, losses);
    double sum = 0;
    for (int64_t i = 0; i < m->batch->tokens; i++)
        sum += loss_at(m, at, i);
    return sum;
}

beam_status beam_model_result(beam_model *m, beam_forward_result *out)
{
    *out = (beam_forward_result){.targets = m->batch->targets};
    m->reported = false;
    fetch_report(m);
    out->loss = sum_of(m, m->head.loss);
    const uint8_t *correct = reported(m, m->head.correct);
    for (int64_t i = 0; i < m->batch->tokens; i++)
        out->correct += correct[i];
    if (m->distilled)
        out->divergence = sum_of(m, m->head.divergence);
    if (m->united)
        out->unions = *(const double *)reported(m, m->union_sum);
    if (m->load.data)
        out->balance = balance_loss(m);
    return beam_sync(m->be);
}

beam_status beam_model_take_stats(beam_model *m, double *out)
{
    if (out) {
        fetch_report(m);
        memcpy(out, reported(m, m->stats), beam_bytes(m->stats));
    }
    beam_zero(m->be, m->stats);
    m->reported = false;
    return m->be->status;
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
    for (int i = 0; i < m->weights.params.n; i++) {
        const beam_tensor value = m->weights.params.at[i].value, stored = m->weights.stored.at[i].value;
        plan.parameters += beam_bytes(stored) + (value.data != stored.data ? beam_bytes(value) : 0);
    }
    return plan;
}
