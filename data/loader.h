/* Batches from a token file, in an order that depends on nothing but (seed, sample number): no state, so any
 * rank can make any micro-batch, and a resumed run continues with the sample it would have had.
 *
 * A sample is one row of `sequence` tokens. packing: the documents of an epoch, in a random order, are laid
 * into rows by best-fit-decreasing, and attention does not cross documents. Without packing each row holds
 * one document. Longer documents are cut into pieces of `sequence` tokens (plus the token that follows, as
 * the last target). */
#ifndef BEAM_DATA_LOADER_H
#define BEAM_DATA_LOADER_H

#include <stdbool.h>

#include "core/batch.h"
#include "core/status.h"

typedef struct {
    const char *path; /* token file made by beam_tokens_write */
    int64_t sequence; /* tokens per row (cutoff_len) */
    int64_t rows;     /* rows per micro-batch */
    bool packing;
    bool shuffle; /* false: rows in the order of the file (evaluation) */
    uint64_t seed;
} beam_loader_options;

typedef struct beam_loader beam_loader;

/* BEAM_EDATA if the file is not a token file, is damaged, is empty or has no target token. */
beam_status beam_loader_open(const beam_loader_options *options, beam_loader **out);
void beam_loader_close(beam_loader *l); /* accepts NULL */

/* Rows in one epoch, and the largest token id in the file plus one. */
int64_t beam_loader_rows(const beam_loader *l);
int64_t beam_loader_vocab(const beam_loader *l);

/* Name of the tokenizer that made the file, valid until close. */
const char *beam_loader_tokenizer(const beam_loader *l);

/* Trained targets and real tokens of rows [first, first + n) in the endless sequence of epochs. Cheap: no
 * tokens are read. The trainer divides by the global sums. */
void beam_loader_count(beam_loader *l, int64_t first, int64_t n, int64_t *targets, int64_t *counted);

/* Fills the loader's own batch with rows [first, first + rows) of the endless sequence of epochs: row number
 * e * beam_loader_rows() + i is row i of epoch e. Rows beyond `limit` (< 0: none) are all padding. The batch
 * stays valid until the next call. */
beam_status beam_loader_read(beam_loader *l, int64_t first, int64_t limit, const beam_batch **out);

/* A hash of the file's content and of what decides the order: part of a checkpoint, to notice other data. */
uint64_t beam_loader_hash(const beam_loader *l);

#endif
