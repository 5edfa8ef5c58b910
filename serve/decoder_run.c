/* A decoder's step: embedding, layers, head. */
#include "core/clock.h"
#include "serve/decoder_state.h"
#include "serve/moe_state.h"

static beam_tensor front(const beam_decoder *d, beam_tensor t)
{
    return beam_decoder_front(d, t);
}

void beam_decoder_linear(beam_decoder *d, beam_tensor y, const beam_param *w, const beam_param *bias,
                         beam_tensor x)
{
    const int64_t width = w->value.dim[1];
    beam_thin_gemm(d->be, y, w->value, beam_reshape(front(d, x), BEAM_DIMS(d->n, width)));
    if (bias)
        beam_add_bias(d->be, y, bias->value);
}

static void norm(beam_decoder *d, const beam_param *weight)
{
    beam_rmsnorm(d->be, front(d, d->in), beam_rows(d->inverse, 0, d->n), front(d, d->x), weight->value,
                 d->config.rms_norm_eps);
}

/* d->out = mlp(d->in) of a dense layer. */
static void run_dense(beam_decoder *d, const beam_mlp_weights *w)
{
    beam_decoder_linear(d, front(d, d->gate_up), w->gate_up, NULL, d->in);
    beam_swiglu(d->be, front(d, d->act), front(d, d->gate_up), NULL, BEAM_ROWS_ALL);
    beam_decoder_linear(d, front(d, d->out), w->down, NULL, d->act);
}

/* On the processor routing ends before experts begin, so that lone pairs can be looked for between them. */
static int run_experts(beam_decoder *d, const beam_moe *m, const beam_moe_pairs *pairs)
{
    const size_t bytes = beam_bytes(d->moe_room);
    if (beam_decodes_on_gpu(d->be)) {
        beam_arena a = beam_arena_over(d->moe_room.data, bytes);
        return beam_moe_cuda_layer(m, d->in.data, d->out.data, d->n, pairs, &a, d->be->stream);
    }
    const int code = beam_moe_route(m, d->in.data, d->n, pairs, d->moe_room.data, bytes, NULL);
    if (code)
        return code;
    beam_lone_apply(&d->options.lone, pairs, d->n, m->top_k, m->experts, d->readers);
    return beam_moe_experts(m, d->in.data, d->out.data, d->n, pairs, d->moe_room.data, bytes, NULL);
}

/* d->out = mixture(d->in). */
static void run_mixture(beam_decoder *d, int64_t layer, int64_t index)
{
    if (d->be->status)
        return;
    const double begin = beam_seconds();
    const beam_moe_pairs pairs = {.id = (int32_t *)d->expert.data + index * d->n * d->config.top_k,
                                  .weight = d->weight.data,
                                  .candidate = d->candidate.data,
                                  .gain = d->gain.data};
    const int code = run_experts(d, &d->moe[layer], &pairs);
    if (code == BEAM_MOE_ELAUNCH)
        d->be->status = BEAM_FAIL(BEAM_EDEVICE, "cuda: a mixture layer: %s", beam_moe_error(code));
    else
        BEAM_ASSERT(code == BEAM_MOE_OK);
    d->costs.moe_seconds += beam_seconds() - begin;
}

static void run_layer(beam_decoder *d, int64_t i, int64_t *moe_index)
{
    const beam_layer_weights *w = &d->weights->layer[i];
    norm(d, w->attention_norm);
    beam_decoder_attend(d, i);
    beam_decoder_linear(d, front(d, d->out), w->attention.o, w->attention.o_bias, d->attended);
    beam_add(d->be, front(d, d->x), front(d, d->out));
    norm(d, w->mlp_norm);
    if (w->mlp.router)
        run_mixture(d, i, (*moe_index)++);
    else
        run_dense(d, &w->mlp);
    beam_add(d->be, front(d, d->x), front(d, d->out));
}

static void run_head(beam_decoder *d)
{
    if (d->wanted == 0)
        return;
    const beam_tensor x = beam_rows(d->head_x, 0, d->wanted), in = beam_rows(d->head_in, 0, d->wanted);
    beam_unpack_rows(d->be, x, front(d, d->x), d->wants);
    beam_rmsnorm(d->be, in, beam_rows(d->inverse, 0, d->wanted), x, d->weights->norm->value,
                 d->config.rms_norm_eps);
    beam_thin_gemm(d->be, beam_rows(d->logits, 0, d->wanted), d->weights->head->value, in);
}

void beam_decoder_run(beam_decoder *d)
{
    int64_t moe_index = 0;
    beam_unpack_rows(d->be, front(d, d->x), d->weights->embed->value, d->id);
    for (int64_t i = 0; i < d->config.layers; i++)
        run_layer(d, i, &moe_index);
    run_head(d);
}
