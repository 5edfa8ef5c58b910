#include "comm/tree.h"

int beam_tree_levels(int64_t leaves)
{
    int levels = 0;
    while ((leaves - 1) >> levels)
        levels++;
    return levels;
}

static void place(beam_tree *t, int levels, beam_arena *a)
{
    for (int l = 0; l < levels; l++)
        t->partial[l] = beam_push(a, t->grads.dtype, t->grads.ndim, t->grads.dim);
}

size_t beam_tree_bytes(beam_tensor grads, int64_t leaves)
{
    beam_tree t = {.grads = grads};
    beam_arena a = beam_arena_measure();
    place(&t, beam_tree_levels(leaves), &a);
    return a.peak;
}

beam_status beam_tree_open(beam_tree *t, beam_tensor grads, int64_t leaves, beam_backend *be)
{
    const int levels = beam_tree_levels(leaves);
    BEAM_ASSERT(leaves >= 1 && levels < BEAM_TREE_LEVELS);
    *t = (beam_tree){.grads = grads, .leaves = leaves};
    if (levels == 0)
        return BEAM_OK;
    t->bytes = beam_tree_bytes(grads, leaves);
    t->block = beam_alloc(be, t->bytes, "gradient accumulation");
    if (be->status)
        return be->status;
    beam_arena a = beam_arena_over(t->block, t->bytes);
    place(t, levels, &a);
    return BEAM_OK;
}

void beam_tree_close(beam_tree *t, beam_backend *be)
{
    beam_free(be, t->block);
    *t = (beam_tree){0};
}

void beam_tree_push(beam_tree *t, beam_backend *be)
{
    if (t->done + 1 == t->leaves) {
        beam_tree_join(t, be, 0, beam_count(t->grads));
        beam_tree_restart(t);
        return;
    }
    int level = 0;
    for (; t->done >> level & 1; level++) /* a finished subtree of the same size: join them */
        beam_add(be, t->grads, t->partial[level]);
    t->done++;
    beam_copy(be, t->partial[level], t->grads);
    beam_zero(be, t->grads);
}

static beam_tensor range(beam_tensor t, int64_t first, int64_t n)
{
    return beam_rows(beam_reshape(t, 1, (const int64_t[]){beam_count(t)}), first, n);
}

void beam_tree_join(beam_tree *t, beam_backend *be, int64_t first, int64_t n)
{
    BEAM_ASSERT(t->done + 1 == t->leaves);
    for (int level = 0; t->done >> level; level++) /* smaller subtrees join larger ones */
        if (t->done >> level & 1)
            beam_add(be, range(t->grads, first, n), range(t->partial[level], first, n));
}

void beam_tree_restart(beam_tree *t)
{
    t->done = 0;
}

void beam_tree_add_rows(beam_backend *be, beam_tensor rows)
{
    for (int64_t apart = 1; apart < rows.dim[0]; apart *= 2)
        for (int64_t r = 0; r + apart < rows.dim[0]; r += 2 * apart)
            beam_add(be, beam_rows(rows, r, 1), beam_rows(rows, r + apart, 1));
}
