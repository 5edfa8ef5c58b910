#include "core/arena.h"

#include "core/status.h"

beam_arena beam_arena_measure(void)
{
    return (beam_arena){.base = NULL, .capacity = SIZE_MAX};
}

beam_arena beam_arena_over(void *base, size_t capacity)
{
    BEAM_ASSERT((uintptr_t)base % BEAM_ALIGN == 0);
    return (beam_arena){.base = base, .capacity = capacity};
}

beam_tensor beam_push(beam_arena *a, beam_dtype t, int ndim, const int64_t dim[])
{
    beam_tensor v = beam_view(NULL, t, ndim, dim);
    const size_t bytes = (beam_bytes(v) + BEAM_ALIGN - 1) / BEAM_ALIGN * BEAM_ALIGN;
    BEAM_ASSERT(bytes <= a->capacity - a->used);
    if (a->base)
        v.data = a->base + a->used;
    a->used += bytes;
    if (a->used > a->peak)
        a->peak = a->used;
    return v;
}

size_t beam_mark(const beam_arena *a)
{
    return a->used;
}

void beam_release(beam_arena *a, size_t mark)
{
    BEAM_ASSERT(mark <= a->used);
    a->used = mark;
}
