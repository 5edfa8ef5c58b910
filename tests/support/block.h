/* The arena of a test fixture: one block in which every byte outside the tensors, and every byte of a tensor
 * that was not filled, holds a known pattern. The pattern reads as NaN (or -1): using an output before it is
 * written shows in the results, and a write outside a tensor shows in the guards between them.
 *
 *     test_block b = test_block_measure();
 *     layout(&b);                                // pushes; data stays NULL
 *     test_block_place(&b);
 *     layout(&b);                                // the same pushes, now with addresses
 *     ...
 *     assert_true(test_block_guards(&b, b.bytes));
 *     test_block_free(&b);
 */
#ifndef BEAM_TESTS_SUPPORT_BLOCK_H
#define BEAM_TESTS_SUPPORT_BLOCK_H

#include "core/arena.h"

enum { TEST_PATTERN = 0xff, TEST_BLOCK_TENSORS = 64 };

typedef struct {
    char *bytes; /* NULL while measuring */
    size_t size;
    beam_arena arena;
    beam_tensor tensor[TEST_BLOCK_TENSORS];
    int n;
} test_block;

/* A block that only counts. */
test_block test_block_measure(void);

/* The next tensor, with a guard of at least BEAM_ALIGN bytes on both sides. */
beam_tensor test_block_push(test_block *b, beam_dtype t, int ndim, const int64_t dim[]);

/* Allocates what was counted, filled with the pattern, and starts over. */
void test_block_place(test_block *b);

/* True when every byte of `image` (a copy of the block, or the block itself) outside the tensors still holds
 * the pattern; says which tensor was overrun otherwise. */
bool test_block_guards(const test_block *b, const char *image);

/* The same tensor in a copy of the block. */
beam_tensor test_block_in(const test_block *b, beam_tensor t, void *image);

/* True when element i was never written: its bytes are the pattern. */
bool test_untouched(beam_tensor t, int64_t i);

void test_block_free(test_block *b);

#endif
