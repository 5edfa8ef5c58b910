#include "model/expert_plan.h"

enum { KEPT, DROPPED, KINDS };

static int64_t share(const beam_expert_plan *p)
{
    return p->experts / p->ranks;
}

static int64_t count_of(const beam_expert_plan *p, int from, int64_t expert, int kind)
{
    return p->count[((int64_t)from * p->experts + expert) * KINDS + kind];
}

static int64_t length(const beam_expert_plan *p, int from, int to)
{
    int64_t n = 0;
    for (int64_t e = to * share(p); e < (to + 1) * share(p); e++)
        n += count_of(p, from, e, KEPT) + count_of(p, from, e, DROPPED);
    return n;
}

int64_t beam_expert_plan_rounds(const beam_expert_plan *p)
{
    int64_t longest = 0;
    for (int from = 0; from < p->ranks; from++)
        for (int to = 0; to < p->ranks; to++) {
            const int64_t n = length(p, from, to);
            longest = n > longest ? n : longest;
        }
    return (longest + p->most - 1) / p->most;
}

int64_t beam_expert_plan_part(const beam_expert_plan *p, int from, int to, int64_t round)
{
    const int64_t left = length(p, from, to) - round * p->most;
    return left < 0 ? 0 : left < p->most ? left : p->most;
}

/* How many of the rows [at, at + n) of a list move in the round; *skip of them did before. */
static int64_t moving(const beam_expert_plan *p, int64_t round, int64_t at, int64_t n, int64_t *skip)
{
    const int64_t begin = round * p->most, end = begin + p->most;
    const int64_t low = at > begin ? at : begin, high = at + n < end ? at + n : end;
    *skip = low - at;
    return high > low ? high - low : 0;
}

int64_t beam_expert_plan_send(const beam_expert_plan *p, const int32_t *first, const int32_t *kept,
                              int32_t *index, int32_t *inverse)
{
    const int64_t rounds = beam_expert_plan_rounds(p);
    int64_t n = 0, at = 0, skip;
    for (int64_t round = 0; round < rounds; round++)
        for (int64_t e = 0; e < p->experts; e++) {
            at = e % share(p) == 0 ? 0 : at; /* the list of the next rank */
            for (int kind = KEPT; kind < KINDS; kind++) {
                const int64_t rows = count_of(p, p->rank, e, kind);
                const int64_t move = moving(p, round, at, rows, &skip);
                const int64_t row = first[e] + (kind == DROPPED ? kept[e] : 0) + skip;
                for (int64_t i = 0; i < move; i++, n++) {
                    index[n] = (int32_t)(row + i);
                    inverse[row + i] = (int32_t)n;
                }
                at += rows;
            }
        }
    return n;
}

/* Where each rank's part of the round begins among the received rows. */
static void begin_parts(const beam_expert_plan *p, int64_t round)
{
    int64_t received = 0;
    for (int from = 0; from < p->ranks; from++) {
        p->list[from] = 0;
        p->next[from] = received;
        received += beam_expert_plan_part(p, from, p->rank, round);
    }
}

int64_t beam_expert_plan_receive(const beam_expert_plan *p, int64_t round, int32_t *first, int32_t *kept,
                                 int32_t *index, int32_t *inverse)
{
    const int64_t own = share(p);
    int64_t m = 0, skip;
    begin_parts(p, round);
    for (int64_t e = 0; e < own; e++) {
        first[e] = (int32_t)m;
        for (int kind = KEPT; kind < KINDS; kind++) {
            for (int from = 0; from < p->ranks; from++) {
                const int64_t rows = count_of(p, from, p->rank * own + e, kind);
                const int64_t move = moving(p, round, p->list[from], rows, &skip);
                for (int64_t i = 0; i < move; i++, m++) {
                    index[m] = (int32_t)p->next[from]++;
                    inverse[index[m]] = (int32_t)m;
                }
                p->list[from] += rows;
            }
            if (kind == KEPT)
                kept[e] = (int32_t)m - first[e];
        }
    }
    first[own] = (int32_t)m;
    return m;
}
