/* Who sends which rows when experts are spread over ranks: all ranks in one process, on random counts. A row
 * is a number that says whose it is, and for which expert. */
#include "model/expert_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/values.h"

enum { RANKS = 4, EXPERTS = 8, OWN = EXPERTS / RANKS, MOST_ROWS = 400 };

typedef struct {
    int32_t count[RANKS][EXPERTS][2];
    int32_t first[RANKS][EXPERTS + 1], kept[RANKS][EXPERTS]; /* the routes that have these counts */
    int64_t list[RANKS], next[RANKS];
    beam_expert_plan plan;
} fixture;

/* Counts in [low, high]; `gaps` dropped rows of every expert are not sent. */
static void make(fixture *f, const char *name, int low, int high, int gaps, int64_t most)
{
    int64_t n = 0;
    *f = (fixture){0};
    for (int r = 0; r < RANKS; r++)
        for (int e = 0; e < EXPERTS; e++) {
            for (int kind = 0; kind < 2; kind++)
                f->count[r][e][kind] = (int32_t)test_uniform(name, n++, low, high + 1);
            f->kept[r][e] = f->count[r][e][0];
            f->first[r][e + 1] = f->first[r][e] + f->count[r][e][0] + f->count[r][e][1] + gaps;
        }
    f->plan = (beam_expert_plan){.ranks = RANKS,
                                 .experts = EXPERTS,
                                 .most = most,
                                 .count = &f->count[0][0][0],
                                 .list = f->list,
                                 .next = f->next};
}

static void expect_inverse(const int32_t *index, const int32_t *inverse, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(inverse[index[i]], i);
}

/* Rows of rank `from`, in the order in which it sends them. */
static int64_t send(fixture *f, int from, int32_t *sent)
{
    int32_t inverse[MOST_ROWS];
    f->plan.rank = from;
    const int64_t n = beam_expert_plan_send(&f->plan, f->first[from], f->kept[from], sent, inverse);
    expect_inverse(sent, inverse, n);
    return n;
}

/* What rank `to` has received after a round, part by part; *at: how much every rank has sent before. */
static int64_t deliver(const fixture *f, int32_t sent[RANKS][MOST_ROWS], const int64_t *at, int to,
                       int64_t round, int32_t *source, int32_t *row)
{
    int64_t m = 0;
    for (int from = 0; from < RANKS; from++) {
        int64_t i = at[from];
        for (int before = 0; before < to; before++)
            i += beam_expert_plan_part(&f->plan, from, before, round);
        const int64_t n = beam_expert_plan_part(&f->plan, from, to, round);
        assert_true(n <= f->plan.most);
        for (int64_t j = 0; j < n; j++, m++) {
            source[m] = from;
            row[m] = sent[from][i + j];
        }
    }
    return m;
}

/* Row `row` of rank `from` is one of expert e, and kept or not. */
static void expect_row(const fixture *f, int from, int32_t row, int e, bool kept)
{
    const int32_t first = f->first[from][e], middle = first + f->kept[from][e];
    assert_true(kept ? row >= first && row < middle : row >= middle && row < f->first[from][e + 1]);
}

/* Rank `to` orders what it has received: groups of its experts, kept rows first, then in order of ranks and
 * of their rows. */
static void receive(fixture *f, int to, int64_t round, int64_t m, const int32_t *source, const int32_t *row,
                    bool (*seen)[MOST_ROWS])
{
    int32_t first[OWN + 1], kept[OWN], index[MOST_ROWS], inverse[MOST_ROWS];
    f->plan.rank = to;
    assert_int_equal(beam_expert_plan_receive(&f->plan, round, first, kept, index, inverse), m);
    expect_inverse(index, inverse, m);
    assert_int_equal(first[OWN], m);
    for (int e = 0; e < OWN; e++)
        for (int32_t i = first[e]; i < first[e + 1]; i++) {
            const int32_t from = source[index[i]], r = row[index[i]];
            expect_row(f, from, r, to * OWN + e, i < first[e] + kept[e]);
            assert_false(seen[from][r]);
            seen[from][r] = true;
            if (i > first[e] && i != first[e] + kept[e]) {
                const int32_t last = source[index[i - 1]];
                assert_true(last < from || (last == from && row[index[i - 1]] < r));
            }
        }
}

static void check(fixture *f)
{
    int32_t sent[RANKS][MOST_ROWS], source[RANKS * MOST_ROWS], row[RANKS * MOST_ROWS];
    int64_t n[RANKS], at[RANKS] = {0};
    bool seen[RANKS][MOST_ROWS] = {{false}};
    for (int from = 0; from < RANKS; from++)
        n[from] = send(f, from, sent[from]);
    const int64_t rounds = beam_expert_plan_rounds(&f->plan);
    for (int64_t round = 0; round < rounds; round++) {
        for (int to = 0; to < RANKS; to++) {
            const int64_t m = deliver(f, sent, at, to, round, source, row);
            assert_true(m <= RANKS * f->plan.most);
            receive(f, to, round, m, source, row, seen);
        }
        for (int from = 0; from < RANKS; from++)
            for (int to = 0; to < RANKS; to++)
                at[from] += beam_expert_plan_part(&f->plan, from, to, round);
    }
    for (int from = 0; from < RANKS; from++) {
        int64_t counted = 0, arrived = 0;
        for (int e = 0; e < EXPERTS; e++)
            counted += f->count[from][e][0] + f->count[from][e][1];
        for (int r = 0; r < MOST_ROWS; r++)
            arrived += seen[from][r];
        assert_int_equal(at[from], n[from]);
        assert_int_equal(counted, n[from]);
        assert_int_equal(arrived, n[from]);
    }
}

static void every_row_arrives_once(void **state)
{
    (void)state;
    static const int64_t most[] = {1, 3, 7, 20, 1000};
    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        fixture f;
        make(&f, "counts", 0, 9, 0, most[i]);
        check(&f);
        make(&f, "counts with gaps", 0, 9, 3, most[i]);
        check(&f);
        make(&f, "sparse", 0, 1, 1, most[i]);
        check(&f);
    }
}

/* All that one expert gets still comes in rounds of the same bound; nobody has anything: no round. */
static void extremes(void **state)
{
    (void)state;
    fixture f;
    make(&f, "none", 0, 0, 0, 10);
    assert_int_equal(beam_expert_plan_rounds(&f.plan), 0);
    make(&f, "none", 0, 0, 50, 10);
    f.count[2][5][0] = f.kept[2][5] = 45;
    check(&f);
    assert_int_equal(beam_expert_plan_rounds(&f.plan), 5);
    assert_int_equal(beam_expert_plan_part(&f.plan, 2, 2, 4), 5);
    assert_int_equal(beam_expert_plan_part(&f.plan, 2, 1, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_arrives_once),
        cmocka_unit_test(extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
