/* serve/beam_moe.h on a GPU: a description becomes a call of kernels/cuda/decode.h. */
#include <math.h>

#include "kernels/cuda/decode.h"
#include "serve/moe_state.h"

bool beam_moe_cuda_compiled(void)
{
    return beam_decode_compiled();
}

bool beam_moe_cuda_fits(const beam_moe *m)
{
    return m->experts + m->null_experts <= BEAM_DECODE_MOST_COLUMNS;
}

bool beam_moe_cuda_takes(int64_t tokens)
{
    return tokens <= BEAM_DECODE_MOST_TOKENS;
}

static beam_decode_matrix matrix(const beam_moe_matrix *m)
{
    return (beam_decode_matrix){.data = m->data, .is_bf16 = m->type == BEAM_MOE_BF16};
}

/* Places the workspace of a call; `own` pairs too. */
static void lay_out(beam_decode_call *c, const beam_moe *m, int64_t tokens, bool own, beam_arena *a)
{
    const int64_t pairs = tokens * m->top_k;
    c->act_stride = beam_decode_stride(m->expert_size);
    c->shared_stride = beam_decode_stride(m->shared_size);
    c->logit = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, m->experts + m->null_experts)).data;
    if (m->mask_router.data)
        c->product = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, m->experts)).data;
    c->arrived = beam_push(a, BEAM_I32, BEAM_DIMS(2 + beam_decode_tiles(tokens))).data;
    c->actives = beam_push(a, BEAM_I32, BEAM_DIMS(1)).data;
    c->active = beam_push(a, BEAM_I32, BEAM_DIMS(m->experts)).data;
    c->first = beam_push(a, BEAM_I32, BEAM_DIMS(m->experts + 1)).data;
    c->pair = beam_push(a, BEAM_I32, BEAM_DIMS(pairs)).data;
    c->act = beam_push(a, BEAM_F32, BEAM_DIMS(pairs, c->act_stride)).data;
    if (m->shared_size > 0) {
        c->shared_act = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, c->shared_stride)).data;
        c->shared_score = beam_push(a, BEAM_F32, BEAM_DIMS(tokens)).data;
    }
    if (own) {
        c->id = beam_push(a, BEAM_I32, BEAM_DIMS(pairs)).data;
        c->candidate = beam_push(a, BEAM_I32, BEAM_DIMS(pairs)).data;
        c->weight = beam_push(a, BEAM_F32, BEAM_DIMS(pairs)).data;
        c->gain = beam_push(a, BEAM_F32, BEAM_DIMS(pairs)).data;
    }
}

void beam_moe_cuda_measure(const beam_moe *m, int64_t tokens, beam_arena *a)
{
    beam_decode_call c;
    lay_out(&c, m, tokens, true, a);
}

static void set_rules(beam_decode_call *c, const beam_moe *m)
{
    const bool masked = m->mask_router.data;
    c->mask_router = matrix(&m->mask_router);
    c->mask_bias = m->mask_bias;
    c->mask_scale = m->mask_scale;
    c->mask_rank_bias = m->mask_rank_bias;
    c->cutoff = masked ? log(m->threshold / (1 - m->threshold)) : 0;
    if (masked)
        c->give_back = matrix(&m->give_back);
    c->normalize = m->normalize != 0;
    c->scale = m->scale > 0 ? m->scale : 1;
    c->groups = m->groups > 0 ? m->groups : 1;
    c->kept_groups = m->groups > 0 ? m->kept_groups : 1;
    c->keep = m->keep > 0 ? m->keep : (int32_t)m->top_k;
    c->anchor = m->anchor > 0 ? m->anchor : (int32_t)m->top_k;
    c->share = m->share > 0 ? m->share : 1;
}

/* A call with pairs of its own, or with the caller's. */
static beam_decode_call open_call(const beam_moe *m, const void *x, void *y, int64_t tokens,
                                  const beam_moe_pairs *pairs, beam_arena *a)
{
    const bool shared = m->shared_size > 0;
    beam_decode_call c = {.tokens = (int32_t)tokens,
                          .hidden_size = (int32_t)m->hidden_size,
                          .experts = (int32_t)m->experts,
                          .null_experts = (int32_t)m->null_experts,
                          .top_k = (int32_t)m->top_k,
                          .expert_size = (int32_t)m->expert_size,
                          .shared_size = (int32_t)m->shared_size,
                          .hidden_is_bf16 = m->hidden_type == BEAM_MOE_BF16,
                          .x = x,
                          .y = y,
                          .router = matrix(&m->router),
                          .gate_up = matrix(&m->gate_up),
                          .down = matrix(&m->down)};
    if (shared) {
        c.shared_gate_up = matrix(&m->shared_gate_up);
        c.shared_down = matrix(&m->shared_down);
        c.shared_gate = matrix(&m->shared_gate);
    }
    set_rules(&c, m);
    lay_out(&c, m, tokens, !pairs, a);
    if (pairs) {
        c.id = pairs->id;
        c.candidate = pairs->candidate;
        c.weight = pairs->weight;
        c.gain = pairs->gain;
    }
    return c;
}

static int code_of(bool launched)
{
    return launched ? BEAM_MOE_OK : BEAM_MOE_ELAUNCH;
}

int beam_moe_cuda_layer(const beam_moe *m, const void *x, void *y, int64_t tokens,
                        const beam_moe_pairs *pairs, beam_arena *a, void *stream)
{
    const beam_decode_call c = open_call(m, x, y, tokens, pairs, a);
    return code_of(tokens == 0 || (beam_decode_route(&c, true, stream) && beam_decode_experts(&c, stream)));
}

int beam_moe_cuda_run(const beam_moe *m, const void *x, void *y, int64_t tokens, beam_arena *a, void *stream)
{
    return beam_moe_cuda_layer(m, x, y, tokens, NULL, a, stream);
}

int beam_moe_cuda_route(const beam_moe *m, const void *x, int64_t tokens, const beam_moe_pairs *pairs,
                        beam_arena *a, void *stream)
{
    const beam_decode_call c = open_call(m, x, NULL, tokens, pairs, a);
    return code_of(tokens == 0 || beam_decode_route(&c, false, stream));
}

int beam_moe_cuda_experts(const beam_moe *m, const void *x, void *y, int64_t tokens,
                          const beam_moe_pairs *pairs, beam_arena *a, void *stream)
{
    const beam_decode_call c = open_call(m, x, y, tokens, pairs, a);
    return code_of(tokens == 0 || (beam_decode_list(&c, stream) && beam_decode_experts(&c, stream)));
}
