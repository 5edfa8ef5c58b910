/* Questions about shapes, for the checks of the front. */
#ifndef BEAM_KERNELS_SHAPE_H
#define BEAM_KERNELS_SHAPE_H

#include "kernels/backend.h"

/* Whether an op may run: nothing failed before, and the backend has it. beam_can records its absence. */
bool beam_can(beam_backend *be, bool present, const char *op);
#define BEAM_CAN(be, op) (!(be)->status && beam_can(be, (be)->ops->op != NULL, #op))

/* A present tensor of exactly this type and shape. */
static inline bool beam_is(beam_tensor t, beam_dtype type, int ndim, const int64_t dim[])
{
    return t.dtype == type && beam_same_shape(t, beam_view(NULL, type, ndim, dim)) &&
           (t.data || beam_count(t) == 0);
}

static inline bool beam_is_absent_or(beam_tensor t, beam_dtype type, int ndim, const int64_t dim[])
{
    return !t.data || beam_is(t, type, ndim, dim);
}

/* A present tensor like another one. */
static inline bool beam_is_like(beam_tensor t, beam_tensor other)
{
    return beam_is(t, other.dtype, other.ndim, other.dim);
}

static inline int64_t beam_last_dim(beam_tensor t)
{
    return t.dim[t.ndim > 0 ? t.ndim - 1 : 0];
}

static inline int64_t beam_leading_dims(beam_tensor t)
{
    int64_t n = 1;
    for (int i = 0; i < t.ndim - 1; i++)
        n *= t.dim[i];
    return n;
}

/* Rows per expert are known. */
static inline bool beam_is_grouped(const beam_route *route, int64_t experts)
{
    return beam_is(route->first, BEAM_I32, BEAM_DIMS(experts + 1)) &&
           beam_is(route->kept, BEAM_I32, BEAM_DIMS(experts));
}

#endif
