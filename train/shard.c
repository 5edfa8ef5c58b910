#include "train/shard.h"

#include <stdlib.h>

/* Neighbours become one, so that a process alone has a single span. */
static void list_own(beam_shard *s, const beam_sum *sum)
{
    for (int b = sum->buckets - 1; b >= 0; b--) { /* bucket 0 is the last one of the block */
        const beam_span own = beam_sum_own(sum, b);
        beam_span *before = s->n_own > 0 ? &s->own[s->n_own - 1] : NULL;
        if (own.n == 0)
            continue;
        if (before && before->first + before->n == own.first)
            before->n += own.n;
        else
            s->own[s->n_own++] = own;
    }
}

static void list_units(beam_shard *s, const beam_sum *sum)
{
    for (int b = 0; b < sum->buckets; b++) {
        const beam_span own = beam_sum_own(sum, b);
        for (int u = 0; u < BEAM_UNITS; u++) {
            const beam_span unit = beam_sum_unit(sum, b, u);
            const bool mine = unit.first >= own.first && unit.first + unit.n <= own.first + own.n;
            s->unit[s->units++] = mine ? unit : (beam_span){0};
        }
    }
}

beam_status beam_shard_open(beam_shard *s, const beam_sum *sum)
{
    const size_t buckets = (size_t)sum->buckets;
    *s = (beam_shard){.own = calloc(buckets + 1, sizeof *s->own),
                      .unit = calloc(buckets * BEAM_UNITS + 1, sizeof *s->unit)};
    if (!s->own || !s->unit) {
        beam_shard_close(s);
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the list of this rank's parameters");
    }
    list_own(s, sum);
    list_units(s, sum);
    return BEAM_OK;
}

void beam_shard_close(beam_shard *s)
{
    free(s->own);
    free(s->unit);
    *s = (beam_shard){0};
}
