/* A part of a block: whose it is, or where something stands. */
#ifndef BEAM_CORE_SPAN_H
#define BEAM_CORE_SPAN_H

#include <stdint.h>

/* Elements [first, first + n) of the block. */
typedef struct {
    int64_t first, n;
} beam_span;

#endif
