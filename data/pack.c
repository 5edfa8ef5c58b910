#include "data/pack.h"

#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

/* Rows by free space: for each amount a list of rows, and a binary tree that knows which lists are not empty.
 */
typedef struct {
    int64_t leaves; /* a power of two above the largest space */
    uint8_t *used;  /* [2 * leaves] node i has children 2i and 2i + 1; the leaf of space s is leaves + s */
    int64_t *head;  /* [leaves] first row with that space; -1: none */
    int64_t *next;  /* [rows] */
} shelf;

static bool shelf_make(shelf *f, int64_t sequence, int64_t rows)
{
    f->leaves = 1;
    while (f->leaves <= sequence)
        f->leaves *= 2;
    f->used = calloc((size_t)f->leaves, 2);
    f->head = malloc((size_t)f->leaves * sizeof *f->head);
    f->next = malloc((size_t)rows * sizeof *f->next + 1);
    if (!f->used || !f->head || !f->next)
        return false;
    for (int64_t i = 0; i < f->leaves; i++)
        f->head[i] = -1;
    return true;
}

static void shelf_free(shelf *f)
{
    free(f->used);
    free(f->head);
    free(f->next);
}

static void shelf_mark(shelf *f, int64_t space)
{
    int64_t i = f->leaves + space;
    f->used[i] = f->head[space] >= 0;
    for (; i > 1; i /= 2)
        f->used[i / 2] = f->used[i] | f->used[i ^ 1];
}

static void shelf_put(shelf *f, int64_t row, int64_t space)
{
    f->next[row] = f->head[space];
    f->head[space] = row;
    shelf_mark(f, space);
}

/* Takes out a row with the least space that is at least `wanted`, and says which; -1: there is none. */
static int64_t shelf_take(shelf *f, int64_t wanted, int64_t *space)
{
    int64_t i = f->leaves + wanted;
    if (!f->used[i]) {
        while (i > 1 && (i % 2 == 1 || !f->used[i + 1])) /* up, to the first used neighbour on the right */
            i /= 2;
        if (i == 1)
            return -1;
        for (i++; i < f->leaves;) /* and down to its leftmost leaf */
            i = f->used[2 * i] ? 2 * i : 2 * i + 1;
    }
    *space = i - f->leaves;
    const int64_t row = f->head[*space];
    f->head[*space] = f->next[row];
    shelf_mark(f, *space);
    return row;
}

/* Tokens of the next piece when `left` are left of the document. */
static int64_t piece_length(int64_t left, int64_t sequence)
{
    if (left <= sequence)
        return left;
    return left == sequence + 1 && sequence > 1 ? sequence - 1 : sequence;
}

/* Cuts all documents; counts the pieces, and stores them unless `out` is NULL. */
static int64_t cut(const int64_t *start, int64_t documents, int64_t sequence, beam_piece *out)
{
    int64_t n = 0;
    for (int64_t d = 0; d < documents; d++)
        for (int64_t at = start[d], length; at < start[d + 1]; at += length, n++) {
            length = piece_length(start[d + 1] - at, sequence);
            if (out)
                out[n] = (beam_piece){at, (int32_t)length, at + length == start[d + 1]};
        }
    return n;
}

/* The pieces from long to short (counting sort), into order[n]. */
static bool sort_by_length(const beam_piece *piece, int64_t n, const beam_packing_options *o, int64_t *order)
{
    const uint64_t stream = beam_hash_string("order of equally long pieces");
    int64_t *place = calloc((size_t)o->sequence + 2, sizeof *place);
    if (!place)
        return false;
    for (int64_t i = 0; i < n; i++)
        place[o->sequence - piece[i].length + 1]++;
    for (int64_t s = 0; s <= o->sequence; s++)
        place[s + 1] += place[s];
    for (int64_t i = 0; i < n; i++) {
        const int64_t p =
            o->mix ? (int64_t)beam_random_permute(o->seed, stream, (uint64_t)i, (uint64_t)n) : i;
        order[place[o->sequence - piece[p].length]++] = p;
    }
    free(place);
    return true;
}

/* Best fit decreasing: each piece goes into the row that it fills best, or opens one. row[i] is piece i's. */
static bool fill_rows(const beam_piece *piece, int64_t n, const beam_packing_options *o, int64_t *row,
                      int64_t *rows)
{
    shelf free_space = {0};
    int64_t *order = malloc((size_t)n * sizeof *order + 1);
    const bool ready = order && shelf_make(&free_space, o->sequence, n) && sort_by_length(piece, n, o, order);
    *rows = 0;
    for (int64_t i = 0; ready && i < n; i++) {
        const int64_t p = order[i], length = piece[p].length;
        int64_t space = o->sequence;
        row[p] = shelf_take(&free_space, length, &space);
        if (row[p] < 0)
            row[p] = (*rows)++;
        shelf_put(&free_space, row[p], space - length);
    }
    shelf_free(&free_space);
    free(order);
    return ready;
}

/* Renumbers the rows in the order of their first pieces. */
static bool number_rows(int64_t *row, int64_t n, int64_t rows)
{
    int64_t *number = malloc((size_t)rows * sizeof *number + 1), next = 0;
    if (!number)
        return false;
    for (int64_t r = 0; r < rows; r++)
        number[r] = -1;
    for (int64_t i = 0; i < n; i++) {
        if (number[row[i]] < 0)
            number[row[i]] = next++;
        row[i] = number[row[i]];
    }
    free(number);
    return true;
}

/* Moves the pieces to their rows: p->piece and p->first from piece[] and row[]. */
static void group(const beam_piece *piece, const int64_t *row, beam_packing *p)
{
    memset(p->first, 0, ((size_t)p->rows + 1) * sizeof *p->first);
    for (int64_t i = 0; i < p->pieces; i++)
        p->first[row[i] + 1]++;
    for (int64_t r = 0; r < p->rows; r++)
        p->first[r + 1] += p->first[r];
    for (int64_t i = 0; i < p->pieces; i++)
        p->piece[p->first[row[i]]++] = piece[i];
    for (int64_t r = p->rows; r > 0; r--) /* each entry has moved on to where the next row begins */
        p->first[r] = p->first[r - 1];
    p->first[0] = 0;
}

beam_status beam_pack(const int64_t *start, int64_t documents, const beam_packing_options *o,
                      beam_packing *out)
{
    BEAM_ASSERT(o->sequence >= 1 && o->sequence <= BEAM_SEQUENCE_MAX);
    beam_packing p = {.pieces = cut(start, documents, o->sequence, NULL)};
    beam_piece *piece = malloc((size_t)p.pieces * sizeof *piece + 1);
    int64_t *row = malloc((size_t)p.pieces * sizeof *row + 1);
    bool good = piece && row;
    if (good) {
        cut(start, documents, o->sequence, piece);
        for (int64_t i = 0; i < p.pieces; i++)
            row[i] = i;
        p.rows = p.pieces;
    }
    if (good && o->together)
        good = fill_rows(piece, p.pieces, o, row, &p.rows) && number_rows(row, p.pieces, p.rows);
    if (good) {
        p.piece = malloc((size_t)p.pieces * sizeof *p.piece + 1);
        p.first = malloc(((size_t)p.rows + 1) * sizeof *p.first);
        good = p.piece && p.first;
    }
    if (good)
        group(piece, row, &p);
    free(piece);
    free(row);
    if (!good) {
        beam_packing_free(&p);
        return BEAM_FAIL(BEAM_ENOMEM, "no memory to pack %lld documents", (long long)documents);
    }
    *out = p;
    return BEAM_OK;
}

void beam_packing_free(beam_packing *p)
{
    free(p->piece);
    free(p->first);
    *p = (beam_packing){0};
}
