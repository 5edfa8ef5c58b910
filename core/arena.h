/* Every tensor of one lifetime in one block. The code that builds the tensors runs twice: over a measuring
 * arena (base NULL, unlimited) to learn the size, then over the real block. What is measured is therefore
 * what is used.
 *
 *     beam_arena a = beam_arena_measure();
 *     layout(&a, &tensors);                     // data stays NULL
 *     void *block = allocate(a.peak);
 *     a = beam_arena_over(block, a.peak);
 *     layout(&a, &tensors);                     // the same pushes, now with addresses
 */
#ifndef BEAM_CORE_ARENA_H
#define BEAM_CORE_ARENA_H

#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BEAM_ALIGN = 64 }; /* bytes; every tensor starts on a cache line */

typedef struct {
    char *base;      /* NULL while measuring */
    size_t capacity; /* bytes */
    size_t used, peak;
} beam_arena;

/* An arena that only counts. */
beam_arena beam_arena_measure(void);

/* An arena over the caller's block, which must be aligned to BEAM_ALIGN and stays the caller's. */
beam_arena beam_arena_over(void *base, size_t capacity);

/* The next tensor of the arena, uninitialised. Running out is a broken contract: measure first. */
beam_tensor beam_push(beam_arena *a, beam_dtype t, int ndim, const int64_t dim[]);

/* Everything pushed after the mark is given back by the release. */
size_t beam_mark(const beam_arena *a);
void beam_release(beam_arena *a, size_t mark);

#ifdef __cplusplus
}
#endif
#endif
