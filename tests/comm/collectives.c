/* Exchanges, gathers and sums, bit for bit, with parts of uneven and of no length. Run with 1 to 4 ranks. */
#include <stdlib.h>
#include <string.h>

#include "comm/ranks.h"
#include "data/cmocka_all.h"
#include "support/values.h"

enum { RANKS = 8, LARGE = 40000 }; /* larger than what MPI sends without asking first */

static const beam_dtype types[BEAM_EXCHANGES] = {BEAM_F32, BEAM_U8, BEAM_F64, BEAM_I64, BEAM_I32, BEAM_F32};

/* How much goes from a rank to another: nothing, a little or a lot. */
static int64_t amount(int from, int to, int slot)
{
    static const int64_t some[] = {0, 1, 17, LARGE, 1000};
    return some[(from + 2 * to + 3 * slot) % 5];
}

/* A number, exact in every type, that says where it comes from and goes to. */
static double content(int from, int to, int slot, int64_t i)
{
    return (double)((from * 31 + to * 7 + slot * 3 + i) % 251);
}

typedef struct {
    beam_exchange x;
    int64_t from_count[RANKS], to_count[RANKS];
} exchange;

static beam_tensor allocate(beam_dtype type, int64_t n)
{
    beam_tensor t = beam_view(NULL, type, BEAM_DIMS(n));
    t.data = malloc(beam_bytes(t) + 1);
    assert_non_null(t.data);
    return t;
}

static void prepare(exchange *e, const beam_comm *c, int slot)
{
    int64_t out = 0, in = 0;
    for (int r = 0; r < c->size; r++) {
        out += e->from_count[r] = amount(c->rank, r, slot);
        in += e->to_count[r] = amount(r, c->rank, slot);
    }
    e->x = (beam_exchange){.from = allocate(types[slot], out),
                           .to = allocate(types[slot], in),
                           .from_count = e->from_count,
                           .to_count = e->to_count};
    int64_t at = 0;
    for (int r = 0; r < c->size; r++)
        for (int64_t i = 0; i < e->from_count[r]; i++)
            test_set(e->x.from, at++, content(c->rank, r, slot, i));
    test_fill(e->x.to, 252);
}

/* What arrived is what was sent; what was sent is still there. */
static bool is_right(const exchange *e, const beam_comm *c, int slot)
{
    int64_t in = 0, out = 0;
    bool right = true;
    for (int r = 0; r < c->size; r++) {
        for (int64_t i = 0; i < e->to_count[r]; i++)
            right = right && test_get(e->x.to, in++) == content(r, c->rank, slot, i);
        for (int64_t i = 0; i < e->from_count[r]; i++)
            right = right && test_get(e->x.from, out++) == content(c->rank, r, slot, i);
    }
    return right;
}

static void exchanges(void **state)
{
    beam_comm *c = &((test_ranks *)*state)->comm;
    static const int order[BEAM_EXCHANGES] = {2, 5, 0, 3, 4, 1}; /* finished in another order than started */
    for (int round = 0; round < 3; round++) {
        exchange e[BEAM_EXCHANGES];
        bool right = true;
        for (int slot = 0; slot < BEAM_EXCHANGES; slot++) {
            int64_t away = 0;
            prepare(&e[slot], c, slot);
            for (int r = 0; r < c->size; r++)
                away += r == c->rank ? 0 : e[slot].from_count[r] * (int64_t)beam_dtype_size(types[slot]);
            const int64_t before = c->sent;
            beam_comm_start(c, slot, &e[slot].x);
            right = right && c->sent - before == away;
            beam_comm_progress(c);
        }
        for (int i = 0; i < BEAM_EXCHANGES; i++) {
            beam_comm_finish(c, order[i]);
            right = right && is_right(&e[order[i]], c, order[i]);
            free(e[order[i]].x.from.data);
            free(e[order[i]].x.to.data);
        }
        assert_true(test_all(c, right));
    }
}

static void gathers(void **state)
{
    beam_comm *c = &((test_ranks *)*state)->comm;
    for (int slot = 0; slot < BEAM_EXCHANGES; slot++) {
        int64_t count[RANKS], n = 0, at = 0;
        for (int r = 0; r < c->size; r++)
            n += count[r] = amount(r, 1, slot);
        beam_tensor block = allocate(types[slot], n);
        for (int r = 0; r < c->size; r++)
            for (int64_t i = 0; i < count[r]; i++)
                test_set(block, at++, r == c->rank ? content(r, 0, slot, i) : 252);
        beam_comm_all_gather(c, block, count);
        bool right = true;
        at = 0;
        for (int r = 0; r < c->size; r++)
            for (int64_t i = 0; i < count[r]; i++)
                right = right && test_get(block, at++) == content(r, 0, slot, i);
        free(block.data);
        assert_true(test_all(c, right));
    }
}

static void host_data(void **state)
{
    beam_comm *c = &((test_ranks *)*state)->comm;
    static const size_t sizes[] = {0, 1, 4097, 3 << 20};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        const size_t n = sizes[k];
        char *mine = malloc(n + 1), *all = malloc(n * (size_t)c->size + 1);
        assert_true(mine && all);
        memset(mine, c->rank + 1, n + 1);
        beam_comm_host_gather(c, mine, all, n);
        bool right = true;
        for (int r = 0; r < c->size; r++)
            for (size_t i = 0; i < n; i++)
                right = right && all[(size_t)r * n + i] == r + 1;
        for (int root = 0; root < c->size; root++) {
            memset(mine, c->rank + 1, n + 1);
            beam_comm_host_broadcast(c, mine, n, root);
            for (size_t i = 0; i < n; i++)
                right = right && mine[i] == root + 1;
            right = right && mine[n] == c->rank + 1;
        }
        free(mine);
        free(all);
        assert_true(test_all(c, right));
    }
}

/* A term whose sum over ranks depends on the order. */
static double term(int rank, int i)
{
    return test_normal("term", rank * 100 + i) * (rank % 3 ? 1e-9 : 1e7);
}

static void sums(void **state)
{
    enum { N = 50 };
    beam_comm *c = &((test_ranks *)*state)->comm;
    double x[N], whole[N];
    bool right = true;
    for (int i = 0; i < N; i++) {
        x[i] = term(c->rank, i);
        whole[i] = 1 << c->rank;
    }
    assert_true(test_all(c, beam_comm_sum(c, x, N) == BEAM_OK && beam_comm_sum(c, whole, N) == BEAM_OK));
    for (int i = 0; i < N; i++) {
        double part[RANKS] = {0}; /* pairs, then pairs of pairs, what is left over joining at the end */
        for (int r = 0; r < c->size; r++)
            part[r] = term(r, i);
        for (int n = c->size; n > 1; n = (n + 1) / 2) {
            for (int r = 0; r < n / 2; r++)
                part[r] = part[2 * r] + part[2 * r + 1];
            if (n % 2)
                part[n / 2] = part[n - 1];
        }
        right = right && memcmp(&x[i], &part[0], sizeof(double)) == 0 && whole[i] == (1 << c->size) - 1;
    }
    assert_true(test_all(c, right && beam_comm_sum(c, NULL, 0) == BEAM_OK));
}

static void places(void **state)
{
    const beam_comm *c = &((test_ranks *)*state)->comm;
    assert_true(c->rank >= 0 && c->rank < c->size && c->size <= RANKS);
    assert_int_equal(c->local_size, c->size); /* tests run on one host */
    assert_int_equal(c->local_rank, c->rank);
    assert_true(c->waited >= 0);
}

/* Rank 1 sends more than rank 0 expects: MPI's complaint becomes a status that stays, and later calls do
 * nothing. */
static void failures(void **state)
{
    test_ranks *t = *state;
    beam_comm *c = &t->comm;
    if (c->size != 2 || strcmp(c->ops->name, "mpi") != 0)
        skip();
    float from[2] = {1, 2}, to[2] = {0};
    const int64_t out[2] = {c->rank == 0 ? 0 : 2, 0}, in[2] = {0, c->rank == 0 ? 1 : 0};
    const beam_exchange x = {.from = beam_view(from, BEAM_F32, BEAM_DIMS(out[0])),
                             .to = beam_view(to, BEAM_F32, BEAM_DIMS(in[1])),
                             .from_count = out,
                             .to_count = in};
    beam_comm_start(c, 0, &x);
    beam_comm_finish(c, 0);
    bool right = true;
    if (c->rank == 0) {
        const int64_t before = c->sent;
        right = c->status == BEAM_ECOMM && strstr(beam_last_error(), "MPI_Testall failed (MPI_ERR_");
        beam_comm_all_gather(c, x.from, NULL);
        beam_comm_host_gather(c, NULL, NULL, 8);
        right = right && c->sent == before && beam_comm_sum(c, NULL, 1) == BEAM_ECOMM;
        right = right && beam_comm_agree(c, "nothing", 1) == BEAM_ECOMM;
        right = right && beam_comm_verdict(c, BEAM_OK) == BEAM_ECOMM;
        c->status = BEAM_OK; /* for the verdict of this test */
    }
    assert_true(test_all(c, right));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exchanges), cmocka_unit_test(gathers), cmocka_unit_test(host_data),
        cmocka_unit_test(sums),      cmocka_unit_test(places),  cmocka_unit_test(failures),
    };
    return cmocka_run_group_tests(tests, test_ranks_open, test_ranks_close);
}
