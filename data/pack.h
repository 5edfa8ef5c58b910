/* Laying documents into rows of equal length. */
#ifndef BEAM_DATA_PACK_H
#define BEAM_DATA_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum { BEAM_SEQUENCE_MAX = 1 << 24 }; /* tokens per row */

/* Tokens [start, start + length) of the file, all of one document. */
typedef struct {
    int64_t start;
    int32_t length;
    bool ends; /* the document's last piece: its last token has no successor */
} beam_piece;

/* Row r holds pieces first[r] .. first[r + 1], in the order of the file; rows are in the order of their first
 * pieces. */
typedef struct {
    int64_t rows, pieces;
    beam_piece *piece;
    int64_t *first; /* [rows + 1] */
} beam_packing;

typedef struct {
    int64_t sequence; /* tokens per row: 1 to BEAM_SEQUENCE_MAX */
    bool together;    /* several pieces in a row (best fit decreasing); false: one */
    bool mix;         /* pieces of equal length are taken in a random order, not in the file's */
    uint64_t seed;    /* of that order */
} beam_packing_options;

/* Cuts documents [start[i], start[i + 1]) into pieces of at most `sequence` tokens and lays every piece into
 * exactly one row. A document's last token is never cut off alone, since it would have nothing to predict
 * (unless rows have a single token). BEAM_ENOMEM; free with beam_packing_free. */
beam_status beam_pack(const int64_t *start, int64_t documents, const beam_packing_options *options,
                      beam_packing *out);
void beam_packing_free(beam_packing *p);

#endif
