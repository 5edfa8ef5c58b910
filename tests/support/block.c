#include "support/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"

test_block test_block_measure(void)
{
    return (test_block){.arena = beam_arena_measure()};
}

static void push_guard(test_block *b)
{
    beam_push(&b->arena, BEAM_U8, BEAM_DIMS(BEAM_ALIGN));
}

beam_tensor test_block_push(test_block *b, beam_dtype t, int ndim, const int64_t dim[])
{
    BEAM_ASSERT(b->n < TEST_BLOCK_TENSORS);
    if (b->n == 0)
        push_guard(b);
    const beam_tensor v = beam_push(&b->arena, t, ndim, dim);
    push_guard(b);
    b->tensor[b->n++] = v;
    return v;
}

void test_block_place(test_block *b)
{
    BEAM_ASSERT(!b->bytes && b->arena.peak > 0);
    b->size = b->arena.peak;
    b->bytes = aligned_alloc(BEAM_ALIGN, b->size);
    BEAM_ASSERT(b->bytes);
    memset(b->bytes, TEST_PATTERN, b->size);
    b->arena = beam_arena_over(b->bytes, b->size);
    b->n = 0;
}

static size_t offset(const test_block *b, beam_tensor t)
{
    return (size_t)((const char *)t.data - b->bytes);
}

bool test_block_guards(const test_block *b, const char *image)
{
    size_t at = 0;
    for (int i = 0; i <= b->n; i++) {
        const size_t end = i < b->n ? offset(b, b->tensor[i]) : b->size;
        for (; at < end; at++) {
            if ((unsigned char)image[at] == TEST_PATTERN)
                continue;
            fprintf(stderr, "guard %s tensor %d of the block was overwritten\n",
                    i < b->n ? "before" : "after", i < b->n ? i : i - 1);
            return false;
        }
        if (i < b->n)
            at = end + beam_bytes(b->tensor[i]);
    }
    return true;
}

beam_tensor test_block_in(const test_block *b, beam_tensor t, void *image)
{
    t.data = (char *)image + offset(b, t);
    return t;
}

bool test_untouched(beam_tensor t, int64_t i)
{
    const size_t size = beam_dtype_size(t.dtype);
    for (size_t k = 0; k < size; k++)
        if (((const unsigned char *)t.data)[(size_t)i * size + k] != TEST_PATTERN)
            return false;
    return true;
}

void test_block_free(test_block *b)
{
    free(b->bytes);
    *b = (test_block){0};
}
