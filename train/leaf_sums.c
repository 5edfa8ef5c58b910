#include "train/leaf_sums.h"

#include <stdlib.h>
#include <string.h>

beam_status beam_leaf_sums_open(beam_leaf_sums *s, int64_t n, int64_t leaves)
{
    *s = (beam_leaf_sums){.n = n, .leaves = leaves};
    s->partial = calloc((size_t)beam_tree_levels(leaves) * (size_t)n + 1, sizeof *s->partial);
    return s->partial ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for the sums of a step");
}

void beam_leaf_sums_close(beam_leaf_sums *s)
{
    free(s->partial);
    *s = (beam_leaf_sums){0};
}

static void join(const beam_leaf_sums *s, double *x, int level)
{
    const double *partial = s->partial + level * s->n;
    for (int64_t i = 0; i < s->n; i++)
        x[i] = partial[i] + x[i];
}

void beam_leaf_sums_push(beam_leaf_sums *s, double *x)
{
    int level = 0;
    if (s->done + 1 == s->leaves) {
        for (; s->done >> level; level++)
            if (s->done >> level & 1)
                join(s, x, level);
        s->done = 0;
        return;
    }
    for (; s->done >> level & 1; level++)
        join(s, x, level);
    memcpy(s->partial + level * s->n, x, (size_t)s->n * sizeof *x);
    s->done++;
}
