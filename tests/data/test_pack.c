/* Packing: every token lands in exactly one row, rows are not overfull, and little space is wasted. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "data/cmocka_all.h"
#include "data/pack.h"

/* Documents with log-normally distributed lengths: median e^mu, as text corpora have them. */
static int64_t *make_documents(int64_t n, double mu, double sigma, uint64_t seed)
{
    int64_t *start = malloc(((size_t)n + 1) * sizeof *start);
    assert_non_null(start);
    start[0] = 0;
    for (int64_t i = 0; i < n; i++)
        start[i + 1] = start[i] + 1 + (int64_t)exp(mu + sigma * beam_random_normal(seed, 0, (uint64_t)i));
    return start;
}

static int by_start(const void *a, const void *b)
{
    const int64_t x = ((const beam_piece *)a)->start, y = ((const beam_piece *)b)->start;
    return (x > y) - (x < y);
}

/* All that beam_pack promises, whatever the documents. */
static void check(const int64_t *start, int64_t documents, const beam_packing_options *o,
                  const beam_packing *p)
{
    assert_int_equal(p->first[0], 0);
    assert_int_equal(p->first[p->rows], p->pieces);
    int64_t last_start = -1;
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t used = 0;
        assert_true(p->first[r] < p->first[r + 1]);
        assert_true(o->together || p->first[r + 1] - p->first[r] == 1);
        assert_true(p->piece[p->first[r]].start > last_start);
        last_start = p->piece[p->first[r]].start;
        for (int64_t i = p->first[r]; i < p->first[r + 1]; i++) {
            assert_true(i == p->first[r] || p->piece[i].start > p->piece[i - 1].start);
            used += p->piece[i].length;
        }
        assert_true(used <= o->sequence);
    }
    beam_piece *sorted = malloc((size_t)p->pieces * sizeof *sorted + 1);
    assert_non_null(sorted);
    memcpy(sorted, p->piece, (size_t)p->pieces * sizeof *sorted);
    qsort(sorted, (size_t)p->pieces, sizeof *sorted, by_start);
    int64_t at = 0, d = 0;
    for (int64_t i = 0; i < p->pieces; i++) {
        assert_int_equal(sorted[i].start, at);
        assert_true(sorted[i].length >= 1);
        at += sorted[i].length;
        assert_true(at <= start[d + 1]);
        assert_int_equal(sorted[i].ends, at == start[d + 1]);
        const bool whole = sorted[i].start == start[d];
        assert_true(!sorted[i].ends || sorted[i].length > 1 || whole || o->sequence == 1);
        d += sorted[i].ends;
    }
    assert_int_equal(d, documents);
    free(sorted);
}

static void pack(const int64_t *start, int64_t documents, const beam_packing_options *o, beam_packing *p)
{
    assert_int_equal(beam_pack(start, documents, o, p), BEAM_OK);
    check(start, documents, o, p);
}

static void all_kinds_of_lengths(void **state)
{
    (void)state;
    beam_packing p;
    for (int64_t sequence = 1; sequence <= 40; sequence++)
        for (uint64_t seed = 0; seed < 4; seed++) {
            int64_t *start = make_documents(150, 2.5, 1.0, seed);
            const beam_packing_options o = {sequence, seed % 2 == 0, seed > 1, seed};
            pack(start, 150, &o, &p);
            beam_packing_free(&p);
            free(start);
        }
}

static void the_last_token_is_not_cut_off_alone(void **state)
{
    (void)state;
    beam_packing p;
    const int64_t start[] = {0, 21};
    const beam_packing_options o = {.sequence = 10, .together = false};
    pack(start, 1, &o, &p);
    assert_int_equal(p.pieces, 3);
    assert_int_equal(p.piece[0].length, 10);
    assert_int_equal(p.piece[1].length, 9);
    assert_int_equal(p.piece[2].length, 2);
    beam_packing_free(&p);
}

static void a_perfect_fit_is_found(void **state)
{
    (void)state;
    beam_packing p;
    /* 7+3, 6+4, 5+5: first fit in the order of the file would need four rows. */
    const int64_t start[] = {0, 3, 7, 12, 18, 25, 30};
    const beam_packing_options o = {.sequence = 10, .together = true};
    pack(start, 6, &o, &p);
    assert_int_equal(p.rows, 3);
    beam_packing_free(&p);
    pack(start, 0, &o, &p);
    assert_int_equal(p.rows, 0);
    beam_packing_free(&p);
}

static void realistic_lengths_fill_the_rows(void **state)
{
    (void)state;
    enum { DOCUMENTS = 200000 };
    beam_packing p, again, other;
    int64_t *start = make_documents(DOCUMENTS, 5.5, 1.2, 9);
    const beam_packing_options o = {2048, true, true, 1}, o2 = {2048, true, true, 2};
    pack(start, DOCUMENTS, &o, &p);
    const double filled = (double)start[DOCUMENTS] / ((double)p.rows * 2048);
    assert_true(filled > 0.99);
    pack(start, DOCUMENTS, &o, &again);
    assert_int_equal(again.pieces, p.pieces);
    for (int64_t i = 0; i < p.pieces; i++)
        assert_true(again.piece[i].start == p.piece[i].start);
    pack(start, DOCUMENTS, &o2, &other);
    assert_int_equal(other.rows, p.rows); /* how well it fits does not depend on the order of equals */
    int64_t moved = 0;
    for (int64_t i = 0; i < p.pieces; i++)
        moved += other.piece[i].start != p.piece[i].start;
    assert_true(moved > p.pieces / 2);
    beam_packing_free(&p);
    beam_packing_free(&again);
    beam_packing_free(&other);
    free(start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds_of_lengths),
        cmocka_unit_test(the_last_token_is_not_cut_off_alone),
        cmocka_unit_test(a_perfect_fit_is_found),
        cmocka_unit_test(realistic_lengths_fill_the_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
