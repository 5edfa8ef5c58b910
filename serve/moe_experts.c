/* Expert pass of serve/beam_moe.h. */
#include <string.h>

#include "core/bf16.h"
#include "kernels/cpu/vec.h"
#include "kernels/decode/experts.h"
#include "serve/moe_state.h"

enum { PARALLEL_TOKENS = 4 }; /* fewer are not worth waking threads for */

/* Kept pairs stand grouped by expert, in the order of tokens. */
typedef struct {
    int32_t *first;         /* [E+1] first row of each expert */
    int32_t *row;           /* [T,K] row of a pair; -1: dropped */
    const float **x;        /* [rows] inputs, then one per token for the shared expert */
    float *act, *out;       /* [rows,F] [rows,D] */
    float *shared_act;      /* [T,S] */
    float *shared_out;      /* [T,D] */
    float *shared_score;    /* [T] */
    beam_expert_work *work; /* experts with a row, and the shared one */
} expert_room;

static void lay_out(expert_room *r, const beam_moe *m, int64_t tokens, beam_arena *a)
{
    const int64_t rows = tokens * m->top_k, pointer = (int64_t)sizeof(void *);
    *r = (expert_room){0};
    r->first = beam_push(a, BEAM_I32, BEAM_DIMS(m->experts + 1)).data;
    r->row = beam_push(a, BEAM_I32, BEAM_DIMS(rows)).data;
    r->x = beam_push(a, BEAM_U8, BEAM_DIMS((rows + tokens) * pointer)).data;
    r->work = beam_push(a, BEAM_U8, BEAM_DIMS((m->experts + 1) * (int64_t)sizeof *r->work)).data;
    r->act = beam_push(a, BEAM_F32, BEAM_DIMS(rows, m->expert_size)).data;
    r->out = beam_push(a, BEAM_F32, BEAM_DIMS(rows, m->hidden_size)).data;
    if (m->shared_size > 0) {
        r->shared_act = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, m->shared_size)).data;
        r->shared_out = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, m->hidden_size)).data;
        r->shared_score = beam_push(a, BEAM_F32, BEAM_DIMS(tokens)).data;
    }
}

void beam_moe_measure_experts(const beam_moe *m, int64_t tokens, beam_arena *a)
{
    expert_room r;
    lay_out(&r, m, tokens, a);
}

/* Counting sort of the kept pairs by expert. */
static void group_pairs(const beam_moe *m, const expert_room *r, const float *x, int64_t tokens,
                        const beam_moe_pairs *pairs)
{
    const int64_t n = tokens * m->top_k;
    memset(r->first, 0, (size_t)(m->experts + 1) * sizeof *r->first);
    for (int64_t i = 0; i < n; i++)
        if (pairs->id[i] >= 0)
            r->first[pairs->id[i] + 1]++;
    for (int64_t e = 0; e < m->experts; e++)
        r->first[e + 1] += r->first[e];
    for (int64_t i = 0; i < n; i++) {
        r->row[i] = pairs->id[i] < 0 ? -1 : r->first[pairs->id[i]]++;
        if (r->row[i] >= 0)
            r->x[r->row[i]] = x + i / m->top_k * m->hidden_size;
    }
    /* first[e] has become the first row of expert e + 1. */
    memmove(r->first + 1, r->first, (size_t)m->experts * sizeof *r->first);
    r->first[0] = 0;
}

/* The experts that somebody keeps, and the shared one. Returns their number. */
static int64_t list_work(const beam_moe *m, const expert_room *r, const float *x, int64_t tokens)
{
    const int64_t d = m->hidden_size, f = m->expert_size, s = m->shared_size;
    const beam_matrix gate_up = beam_moe_rows(&m->gate_up, m->experts * 2 * f, d);
    const beam_matrix down = beam_moe_rows(&m->down, m->experts * d, f);
    int64_t n = 0;
    for (int64_t e = 0; e < m->experts; e++) {
        const int64_t row = r->first[e], rows = r->first[e + 1] - row;
        if (rows > 0)
            r->work[n++] = (beam_expert_work){.gate_up = beam_matrix_rows(gate_up, e * 2 * f, 2 * f),
                                              .down = beam_matrix_rows(down, e * d, d),
                                              .tokens = rows,
                                              .x = r->x + row,
                                              .act = r->act + row * f,
                                              .out = r->out + row * d};
    }
    if (s > 0 && tokens > 0) {
        const float **in = r->x + tokens * m->top_k;
        for (int64_t t = 0; t < tokens; t++)
            in[t] = x + t * d;
        r->work[n++] = (beam_expert_work){.gate_up = beam_moe_rows(&m->shared_gate_up, 2 * s, d),
                                          .down = beam_moe_rows(&m->shared_down, d, s),
                                          .tokens = tokens,
                                          .x = in,
                                          .act = r->shared_act,
                                          .out = r->shared_out};
    }
    return n;
}

static void add_scaled(float *restrict y, const float *restrict x, float w, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] += w * x[i];
}

static void add_given(const beam_moe *m, float *y, int64_t expert, float w)
{
    const beam_matrix given = beam_moe_rows(&m->give_back, m->experts, m->hidden_size);
    const void *row = beam_matrix_row(given, expert);
    if (given.type == BEAM_F32) {
        add_scaled(y, row, w, m->hidden_size);
        return;
    }
    for (int64_t i = 0; i < m->hidden_size; i++)
        y[i] += w * beam_bf16_to_f32(((const uint16_t *)row)[i]);
}

/* y[D] of one token, in the order of its candidates: experts, then what dropped ones give back, then the
 * shared expert. */
static void combine(const beam_moe *m, const expert_room *r, float *y, int64_t t, const beam_moe_pairs *pairs)
{
    const int64_t d = m->hidden_size, from = t * m->top_k, to = from + m->top_k;
    memset(y, 0, (size_t)d * sizeof *y);
    for (int64_t i = from; i < to; i++)
        if (r->row[i] >= 0)
            add_scaled(y, r->out + r->row[i] * d, pairs->weight[i], d);
    for (int64_t i = from; m->give_back.data && m->mask_router.data && i < to; i++)
        if (r->row[i] < 0 && pairs->candidate[i] < m->experts)
            add_given(m, y, pairs->candidate[i], pairs->gain[i]);
    if (m->shared_size > 0)
        add_scaled(y, r->shared_out + t * d, m->shared_gate.data ? beam_sigmoid(r->shared_score[t]) : 1, d);
}

void beam_moe_experts_f32(const beam_moe *m, const float *x, float *y, int64_t tokens,
                          const beam_moe_pairs *pairs, beam_arena *a)
{
    expert_room r;
    lay_out(&r, m, tokens, a);
    const int64_t d = m->hidden_size;
    const int threads = beam_moe_threads(m);
    group_pairs(m, &r, x, tokens, pairs);
    const int64_t n = list_work(m, &r, x, tokens);
    if (m->shared_size > 0 && m->shared_gate.data)
        beam_thin_product(1, r.shared_score, 1, beam_moe_rows(&m->shared_gate, 1, d), x, d, tokens);
    beam_experts_run(threads, r.work, n);
#pragma omp parallel for num_threads(threads) schedule(static) if (tokens >= PARALLEL_TOKENS)
    for (int64_t t = 0; t < tokens; t++)
        combine(m, &r, y + t * d, t, pairs);
}
