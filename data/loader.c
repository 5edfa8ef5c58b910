#include "data/loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "data/file.h"
#include "data/pack.h"
#include "data/tokens.h"

/* What a row contributes. */
typedef struct {
    int32_t targets, counted;
} row_sum;

struct beam_loader {
    beam_loader_options options; /* path is not kept */
    beam_tokens tokens;
    beam_packing packing;
    row_sum *sum;    /* [packing.rows] */
    int64_t targets; /* of an epoch; its real tokens are tokens.tokens */
    int64_t vocab;   /* largest id + 1 */
    uint64_t hash, epoch_stream;
    beam_batch batch; /* memory for rows * sequence tokens */
};

/* The target of token i: the next one, if it is in the same document and to be learned. */
static int32_t target_of(const beam_tokens *t, int64_t i, bool last)
{
    return !last && t->loss[i + 1] ? t->id[i + 1] : -1;
}

static beam_status sum_rows(beam_loader *l)
{
    const beam_packing *p = &l->packing;
    l->sum = calloc((size_t)p->rows + 1, sizeof *l->sum);
    if (!l->sum)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %lld rows of tokens", (long long)p->rows);
    for (int64_t r = 0; r < p->rows; r++) {
        for (int64_t k = p->first[r]; k < p->first[r + 1]; k++) {
            const beam_piece piece = p->piece[k];
            l->sum[r].counted += piece.length;
            for (int32_t i = 0; i < piece.length; i++)
                l->sum[r].targets +=
                    target_of(&l->tokens, piece.start + i, piece.ends && i + 1 == piece.length) >= 0;
        }
        l->targets += l->sum[r].targets;
    }
    return BEAM_OK;
}

/* Of everything that decides what a row number means; the batch size does not. */
static uint64_t hash_order(const beam_loader *l)
{
    char text[160], hex[BEAM_SHA256_HEX];
    const beam_loader_options *o = &l->options;
    const int n =
        snprintf(text, sizeof text, "order 1: %016llx %lld %d %d %llu", (unsigned long long)l->tokens.hash,
                 (long long)o->sequence, o->packing, o->shuffle, (unsigned long long)o->seed);
    beam_sha256(text, (size_t)n, hex);
    return beam_sha256_short(hex);
}

static beam_status fill_loader(beam_loader *l, const char *path)
{
    BEAM_TRY(beam_tokens_read(path, &l->tokens));
    if (l->tokens.tokens == 0)
        return BEAM_FAIL(BEAM_EDATA, "%s: holds no tokens", path);
    for (int64_t i = 0; i < l->tokens.tokens; i++)
        if (l->tokens.id[i] >= l->vocab)
            l->vocab = l->tokens.id[i] + 1;
    const beam_packing_options packing = {.sequence = l->options.sequence,
                                          .together = l->options.packing,
                                          .mix = l->options.shuffle,
                                          .seed = l->options.seed};
    BEAM_TRY(beam_pack(l->tokens.start, l->tokens.documents, &packing, &l->packing));
    BEAM_TRY(sum_rows(l));
    if (l->targets == 0)
        return BEAM_FAIL(BEAM_EDATA,
                         "%s: no token of it is a target: every document has a single token or is "
                         "masked out",
                         path);
    BEAM_TRY(beam_batch_alloc(&l->batch, l->options.rows * l->options.sequence));
    l->epoch_stream = beam_hash_string("order of rows in an epoch");
    l->hash = hash_order(l);
    return BEAM_OK;
}

beam_status beam_loader_open(const beam_loader_options *options, beam_loader **out)
{
    const int64_t s = options->sequence, r = options->rows;
    if (s < 1 || s > BEAM_SEQUENCE_MAX || r < 1 || r > INT32_MAX / s)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%lld rows of %lld tokens: rows may have up to %d tokens, and a micro-batch "
                         "2^31 - 1",
                         (long long)r, (long long)s, BEAM_SEQUENCE_MAX);
    beam_loader *l = calloc(1, sizeof *l);
    if (!l)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: out of memory", options->path);
    l->options = *options;
    l->options.path = NULL;
    const beam_status status = fill_loader(l, options->path);
    if (status != BEAM_OK) {
        beam_loader_close(l);
        return status;
    }
    *out = l;
    return BEAM_OK;
}

void beam_loader_close(beam_loader *l)
{
    if (!l)
        return;
    beam_tokens_free(&l->tokens);
    beam_packing_free(&l->packing);
    free(l->sum);
    beam_batch_free(&l->batch);
    free(l);
}

int64_t beam_loader_rows(const beam_loader *l)
{
    return l->packing.rows;
}

int64_t beam_loader_vocab(const beam_loader *l)
{
    return l->vocab;
}

const char *beam_loader_tokenizer(const beam_loader *l)
{
    return l->tokens.tokenizer;
}

uint64_t beam_loader_hash(const beam_loader *l)
{
    return l->hash;
}

/* The packed row that stands at place `number` of the endless sequence of epochs. */
static int64_t row_at(const beam_loader *l, int64_t number)
{
    BEAM_ASSERT(number >= 0);
    const int64_t epoch = number / l->packing.rows, i = number % l->packing.rows;
    if (!l->options.shuffle)
        return i;
    return (int64_t)beam_random_permute(l->options.seed, l->epoch_stream + (uint64_t)epoch, (uint64_t)i,
                                        (uint64_t)l->packing.rows);
}

void beam_loader_count(beam_loader *l, int64_t first, int64_t n, int64_t *targets, int64_t *counted)
{
    const int64_t epochs = n / l->packing.rows; /* whole ones, if they start with one, have known sums */
    *targets = *counted = 0;
    if (first % l->packing.rows == 0 && epochs > 0) {
        *targets = epochs * l->targets;
        *counted = epochs * l->tokens.tokens;
        first += epochs * l->packing.rows;
        n -= epochs * l->packing.rows;
    }
    for (int64_t i = 0; i < n; i++) {
        const row_sum sum = l->sum[row_at(l, first + i)];
        *targets += sum.targets;
        *counted += sum.counted;
    }
}

/* Opens a causal sequence of n tokens at `at` and numbers its positions. */
static void open_sequence(beam_batch *b, int64_t at, int64_t n)
{
    b->first[b->sequences++] = (int32_t)at;
    for (int64_t i = 0; i < n; i++)
        b->position[at + i] = (int32_t)i;
}

static void put_piece(beam_loader *l, beam_piece piece, int64_t at)
{
    beam_batch *b = &l->batch;
    open_sequence(b, at, piece.length);
    memcpy(b->id + at, l->tokens.id + piece.start, (size_t)piece.length * sizeof *b->id);
    for (int32_t i = 0; i < piece.length; i++) {
        b->counted[at + i] = 1;
        b->target[at + i] = target_of(&l->tokens, piece.start + i, piece.ends && i + 1 == piece.length);
    }
}

static void put_padding(beam_batch *b, int64_t at, int64_t n)
{
    if (n == 0)
        return;
    open_sequence(b, at, n);
    for (int64_t i = at; i < at + n; i++) {
        b->id[i] = 0;
        b->counted[i] = 0;
        b->target[i] = -1;
    }
}

beam_status beam_loader_read(beam_loader *l, int64_t first, int64_t limit, const beam_batch **out)
{
    beam_batch *b = &l->batch;
    const int64_t sequence = l->options.sequence;
    b->sequences = 0;
    b->targets = b->counted_total = 0;
    for (int64_t k = 0; k < l->options.rows; k++) {
        int64_t at = k * sequence;
        if (limit < 0 || first + k < limit) {
            const int64_t row = row_at(l, first + k);
            for (int64_t i = l->packing.first[row]; i < l->packing.first[row + 1]; i++) {
                put_piece(l, l->packing.piece[i], at);
                at += l->packing.piece[i].length;
            }
            b->targets += l->sum[row].targets;
            b->counted_total += l->sum[row].counted;
        }
        put_padding(b, at, (k + 1) * sequence - at);
    }
    b->first[b->sequences] = (int32_t)b->tokens;
    *out = b;
    return BEAM_OK;
}
