#include "serve/lone.h"

#include <string.h>

/* One token's candidates. */
typedef struct {
    int32_t *id;
    float *weight;
    const int32_t *candidate;
    const float *gain;
    int64_t top_k;
} candidates;

static double total_gain(const candidates *c)
{
    double sum = 0;
    for (int64_t k = 0; k < c->top_k; k++)
        sum += (double)c->gain[k];
    return sum;
}

/* The best candidate that does not run and whose expert is read; -1: none. Null experts are nobody's. */
static int64_t refuge(const candidates *c, int64_t experts, const int32_t *readers)
{
    for (int64_t k = 0; k < c->top_k; k++)
        if (c->id[k] < 0 && c->candidate[k] < experts && readers[c->candidate[k]] > 0)
            return k;
    return -1;
}

static void relieve(const candidates *c, int64_t k, beam_lone_action action, int64_t experts,
                    int32_t *readers)
{
    const int64_t to = action == BEAM_LONE_MOVE ? refuge(c, experts, readers) : -1;
    if (action == BEAM_LONE_MOVE && to < 0)
        return;
    readers[c->id[k]]--;
    if (to >= 0) {
        c->id[to] = c->candidate[to];
        c->weight[to] = c->gain[k] > 0 ? c->gain[to] * (c->weight[k] / c->gain[k]) : 0;
        readers[c->id[to]]++;
    }
    c->id[k] = -1;
    c->weight[k] = 0;
}

void beam_lone_apply(const beam_lone_rule *rule, const beam_moe_pairs *pairs, int64_t tokens, int64_t top_k,
                     int64_t experts, int32_t *readers)
{
    if (rule->action == BEAM_LONE_KEEP)
        return;
    memset(readers, 0, (size_t)experts * sizeof *readers);
    for (int64_t i = 0; i < tokens * top_k; i++)
        if (pairs->id[i] >= 0)
            readers[pairs->id[i]]++;
    for (int64_t t = 0; t < tokens; t++) {
        const candidates c = {pairs->id + t * top_k, pairs->weight + t * top_k, pairs->candidate + t * top_k,
                              pairs->gain + t * top_k, top_k};
        const double limit = rule->share * total_gain(&c);
        for (int64_t k = 0; k < top_k; k++)
            if (c.id[k] >= 0 && readers[c.id[k]] == 1 && (double)c.gain[k] < limit)
                relieve(&c, k, rule->action, experts, readers);
    }
}

beam_status beam_lone_read(const char *name, beam_lone_action *out)
{
    static const char *const names[] = {"keep", "drop", "move"};
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (beam_lone_action)i;
            return BEAM_OK;
        }
    return BEAM_FAIL(BEAM_ECONFIG, "--lone %.20s: expected keep, drop or move", name);
}
