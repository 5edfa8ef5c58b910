/* A cache of keys and values on the processor, and attention over it. */
#include <math.h>
#include <string.h>

#include <omp.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"
#include "kernels/decode/cpu.h"
#include "kernels/decode/thin.h"

enum { HEADS = 8 }; /* that one thread takes at a time: they share keys */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The row of a position. */
static float *row_of(beam_tensor cache, int64_t sequence, int64_t group, int64_t position)
{
    const int64_t positions = cache.dim[2];
    const int64_t block = (sequence * cache.dim[1] + group) * positions;
    return (float *)cache.data + (block + position % positions) * cache.dim[3];
}

/* One token's heads x[H,W]. */
static void finish(const beam_heads *h, float *x, const beam_heads_rule *rule, int64_t sequence,
                   int64_t position)
{
    const int64_t heads = h->x.dim[1], width = h->x.dim[2], n = heads * width, half = rule->cosine.dim[1];
    const int64_t normed = h->norm.dim[0], step = normed == n ? n : width;
    const float limit = (float)rule->limit;
    for (int64_t i = 0; h->norm.data && i < n; i += step)
        beam_cpu_normalize_row(x + i, x + i, h->norm.data, normed, rule->epsilon);
    for (int64_t i = 0; limit > 0 && i < n; i++)
        x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
    for (int64_t i = width - 2 * half; h->rotates && i < n; i += width)
        beam_cpu_rotate(x + i, (const float *)rule->cosine.data + position * half,
                        (const float *)rule->sine.data + position * half, half, 1);
    for (int64_t g = 0; h->cache.data && g < heads; g++)
        memcpy(row_of(h->cache, sequence, g, position), x + g * width, (size_t)width * sizeof *x);
}

void beam_cpu_finish_heads(beam_backend *be, const beam_heads *heads, int kinds, beam_heads_rule rule,
                           beam_places at)
{
    const int64_t n = heads[0].x.dim[0];
    const int32_t *sequence = at.sequence.data, *position = at.position.data;
#pragma omp parallel for num_threads(be->threads) schedule(static) if (n > 1)
    for (int64_t t = 0; t < n; t++)
        for (int i = 0; i < kinds; i++) {
            const beam_heads *h = &heads[i];
            BEAM_ASSERT(!h->rotates || (position[t] >= 0 && position[t] < rule.cosine.dim[0]));
            finish(h, (float *)h->x.data + t * h->x.dim[1] * h->x.dim[2], &rule, sequence[t], position[t]);
        }
}

/* One token's queries of a few heads that share keys: q and out are [heads, ..]. */
typedef struct {
    const float *q;
    float *out, *score; /* score: [heads, context] */
    int64_t heads, q_width, out_width, context;
    int64_t sequence, group, from, to; /* positions that it sees */
} look;

/* Positions [from, to) as at most two runs of rows that follow each other in the ring. */
static int64_t run_end(beam_tensor cache, int64_t from, int64_t to)
{
    return least(to, (from / cache.dim[2] + 1) * cache.dim[2]);
}

static beam_matrix rows_of(beam_tensor cache, const look *k, int64_t from, int64_t to, int64_t width)
{
    return (beam_matrix){.data = row_of(cache, k->sequence, k->group, from),
                         .type = BEAM_F32,
                         .rows = to - from,
                         .width = width};
}

static void make_scores(beam_tensor keys, const look *k)
{
    const float *q[HEADS];
    for (int64_t h = 0; h < k->heads; h++)
        q[h] = k->q + h * k->q_width;
    for (int64_t s = k->from, end; s < k->to; s = end) {
        end = run_end(keys, s, k->to);
        beam_thin_dots(k->score + s - k->from, k->context, rows_of(keys, k, s, end, k->q_width), q, k->heads);
    }
}

/* score[n] becomes softmax(scale * score[n]). */
static void softmax(float *score, int64_t n, float scale)
{
    float top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        score[i] *= scale;
        top = score[i] > top ? score[i] : top;
    }
    for (int64_t i = 0; i < n; i++)
        sum += score[i] = beam_exp(score[i] - top);
    for (int64_t i = 0; i < n; i++)
        score[i] /= sum;
}

static void mix_values(beam_tensor values, const look *k)
{
    enum { BLOCK = 64 }; /* rows that stay in the nearest cache while all heads use them */
    for (int64_t h = 0; h < k->heads; h++)
        memset(k->out + h * k->out_width, 0, (size_t)k->out_width * sizeof *k->out);
    for (int64_t s = k->from, end; s < k->to; s = end) {
        end = least(run_end(values, s, k->to), s + BLOCK);
        const beam_matrix rows = rows_of(values, k, s, end, k->out_width);
        for (int64_t h = 0; h < k->heads; h++)
            beam_thin_combine(k->out + h * k->out_width, rows, values.dim[3],
                              k->score + h * k->context + s - k->from);
    }
}

int64_t beam_cpu_cache_room(const beam_backend *be, int64_t n, int64_t heads, int64_t width, int64_t context)
{
    (void)n;
    (void)heads;
    (void)width;
    return be->threads * HEADS * context;
}

/* Pieces of work: a token's heads of a group, a few at a time. */
void beam_cpu_cache_attention(beam_backend *be, beam_tensor out, beam_tensor q, beam_cache cache,
                              beam_places at, beam_attention_rule rule, beam_tensor room)
{
    const int64_t n = q.dim[0], heads = q.dim[1], groups = cache.key.dim[1], share = heads / groups;
    const int64_t parts = (share + HEADS - 1) / HEADS, context = cache.key.dim[2];
    const int32_t *sequence = at.sequence.data, *position = at.position.data;
#pragma omp parallel for num_threads(be->threads) schedule(dynamic)
    for (int64_t piece = 0; piece < n * groups * parts; piece++) {
        const int64_t t = piece / (groups * parts), group = piece / parts % groups;
        const int64_t first = piece % parts * HEADS, head = group * share + first;
        const int64_t to = position[t] + 1;
        const look k = {
            .q = (const float *)q.data + (t * heads + head) * q.dim[2],
            .out = (float *)out.data + (t * heads + head) * out.dim[2],
            .score = (float *)room.data + omp_get_thread_num() * HEADS * context,
            .heads = least(HEADS, share - first),
            .q_width = q.dim[2],
            .out_width = out.dim[2],
            .context = context,
            .sequence = sequence[t],
            .group = group,
            .from = rule.window > 0 && to > rule.window ? to - rule.window : 0,
            .to = to,
        };
        make_scores(cache.key, &k);
        for (int64_t h = 0; h < k.heads; h++)
            softmax(k.score + h * k.context, k.to - k.from, (float)rule.scale);
        mix_values(cache.value, &k);
    }
}
