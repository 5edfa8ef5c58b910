/* A decoder's step: embedding, layers, head. */
#include "core/clock.h"
#include "model/attention.h"
#include "serve/decoder_state.h"
#include "serve/moe_state.h"

static beam_tensor front(const beam_decoder *d, beam_tensor t)
{
    return beam_decoder_front(d, t);
}

/* The step's rows [n,width], heads one after another. */
static beam_tensor flat(const beam_decoder *d, beam_tensor t)
{
    return beam_flat_heads(front(d, t));
}

beam_thin_map beam_decoder_map(const beam_decoder *d, beam_tensor y, const beam_param *w,
                               const beam_param *bias)
{
    return (beam_thin_map){.y = flat(d, y), .w = w->value, .bias = bias ? bias->value : (beam_tensor){0}};
}

void beam_decoder_multiply(beam_decoder *d, const beam_thin_map *map, int maps, beam_tensor x)
{
    beam_thin_gemm(d->be, map, maps, flat(d, x));
}

/* d->x += what the last part made, if there was one; d->in = norm(d->x). */
static void add_norm(beam_decoder *d, bool add, const beam_param *weight)
{
    beam_add_rmsnorm(d->be, front(d, d->in), front(d, d->x), add ? front(d, d->out) : (beam_tensor){0},
                     weight->value, d->config.rms_norm_eps);
}

static void multiply(beam_decoder *d, beam_tensor y, const beam_param *w, const beam_param *bias,
                     beam_tensor x)
{
    const beam_thin_map map = beam_decoder_map(d, y, w, bias);
    beam_decoder_multiply(d, &map, 1, x);
}

/* d->out = mlp(d->in) of a dense layer. */
static void run_dense(beam_decoder *d, const beam_mlp_weights *w)
{
    multiply(d, d->gate_up, w->gate_up, NULL, d->in);
    beam_swiglu(d->be, front(d, d->act), front(d, d->gate_up), NULL, BEAM_ROWS_ALL);
    multiply(d, d->out, w->down, NULL, d->act);
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
    add_norm(d, i > 0, w->attention_norm);
    beam_decoder_attend(d, i);
    multiply(d, d->out, w->attention.o, w->attention.o_bias, d->attended);
    add_norm(d, true, w->mlp_norm);
    if (w->mlp.router)
        run_mixture(d, i, (*moe_index)++);
    else
        run_dense(d, &w->mlp);
}

static void run_head(beam_decoder *d)
{
    if (d->wanted == 0)
        return;
    const beam_tensor in = beam_rows(d->head_in, 0, d->wanted);
    const beam_thin_map head = {.y = beam_rows(d->logits, 0, d->wanted), .w = d->weights->head->value};
    add_norm(d, true, d->weights->norm);
    beam_unpack_rows(d->be, in, front(d, d->in), d->wants);
    beam_thin_gemm(d->be, &head, 1, in);
}

void beam_decoder_run(beam_decoder *d)
{
    const int64_t n = d->n, pairs = beam_moe_layers(&d->config) * n * d->config.top_k;
    int64_t moe_index = 0;
    beam_send(d->be, beam_rows(d->input, 0, 3 * n + d->wanted), d->host_input);
    beam_unpack_rows(d->be, front(d, d->x), d->weights->embed->value, d->id);
    for (int64_t i = 0; i < d->config.layers; i++)
        run_layer(d, i, &moe_index);
    run_head(d);
    beam_fetch(d->be, d->host_logits, beam_rows(d->logits, 0, d->wanted));
    beam_fetch(d->be, d->host_expert, beam_rows(d->expert, 0, pairs));
}
