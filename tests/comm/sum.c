/* Gradients over ranks: the same bits as one tree over all leaves, however the block and the last leaf are
 * cut. Run with 1, 2, 3, 4 and 8 ranks. */
#include "comm/sum.h"

#include <stdlib.h>
#include <string.h>

#include "comm/ranks.h"
#include "data/cmocka_all.h"
#include "support/values.h"

enum { LEAVES = 64, STEPS = 2, LARGEST = 90000 };

/* A gradient whose sum over leaves depends on the order of additions. */
static float gradient(int step, int64_t leaf, int64_t i)
{
    const uint64_t mixed =
        (uint64_t)(step * 1009 + leaf * 7919 + i * 104729 + 1) * UINT64_C(0x9e3779b97f4a7c15);
    const float unit = (float)(mixed >> 40) / (float)(1 << 24) - 0.5f;
    return unit * (leaf % 3 ? 1e-3f : 1e4f);
}

/* Pairs, then pairs of pairs, what is left over joining at the end. */
static float sum_as_tree(int step, int64_t leaves, int64_t i)
{
    float part[LEAVES];
    for (int64_t leaf = 0; leaf < leaves; leaf++)
        part[leaf] = gradient(step, leaf, i);
    for (int64_t n = leaves; n > 1; n = (n + 1) / 2) {
        for (int64_t k = 0; k < n / 2; k++)
            part[k] = part[2 * k] + part[2 * k + 1];
        if (n % 2)
            part[n / 2] = part[n - 1];
    }
    return part[0];
}

static bool is_order_seen(int64_t leaves, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float sum = 0;
        for (int64_t leaf = 0; leaf < leaves; leaf++)
            sum += gradient(0, leaf, i);
        if (sum != sum_as_tree(0, leaves, i))
            return true;
    }
    return false;
}

/* The last leaf's gradients get final in steps that fit no bucket, from the end; others are not yet there. */
static bool last_leaf(beam_sum *s, float *grads, int64_t n, int step, int64_t leaf)
{
    bool right = true;
    for (int64_t from = n, k = 0; from > 0; k++) {
        const int64_t before = from, piece = 1 + k * k * 37 % 5003;
        from = k == 0 || from < piece ? from - 1 : from - piece;
        for (int64_t i = from; i < before; i++)
            grads[i] += gradient(step, leaf, i);
        beam_sum_final(s, from);
        right = right && (int64_t)s->started == (from == 0 ? s->buckets : (n - from) / s->bucket);
    }
    return right;
}

static bool is_own_right(const beam_sum *s, const float *grads, int step, int64_t leaves)
{
    bool right = true;
    for (int b = 0; b < s->buckets; b++) {
        const beam_span own = beam_sum_own(s, b);
        for (int64_t i = own.first; i < own.first + own.n; i++) {
            const float want = sum_as_tree(step, leaves, i);
            right = right && memcmp(&grads[i], &want, sizeof want) == 0;
        }
    }
    return right;
}

/* Every rank writes its own spans of another block, and all get all of it. */
static bool is_gathered(beam_sum *s, int64_t n)
{
    int64_t *block = calloc((size_t)n + 1, sizeof *block);
    bool right = true;
    for (int b = 0; b < s->buckets; b++) {
        const beam_span own = beam_sum_own(s, b);
        for (int64_t i = own.first; i < own.first + own.n; i++)
            block[i] = 3 * i + 1;
    }
    beam_sum_gather(s, beam_view(block, BEAM_I64, BEAM_DIMS(n)));
    for (int64_t i = 0; i < n; i++)
        right = right && block[i] == 3 * i + 1;
    free(block);
    return right && block;
}

static bool steps_are_right(test_ranks *t, int64_t n, int64_t leaves)
{
    float *grads = calloc((size_t)n + 1, sizeof *grads);
    const beam_tensor block = beam_view(n ? grads : NULL, BEAM_F32, BEAM_DIMS(n));
    const int64_t first = t->comm.rank * leaves;
    beam_sum s;
    bool right = beam_sum_open(&s, &t->comm, &t->be, block, leaves) == BEAM_OK;
    right = right && s.bytes == beam_sum_bytes(&t->comm, block);
    for (int step = 0; step < STEPS; step++) {
        memset(grads, 0, (size_t)n * sizeof *grads);
        for (int64_t leaf = first; leaf < first + leaves - 1; leaf++) {
            for (int64_t i = 0; i < n; i++)
                grads[i] += gradient(step, leaf, i);
            beam_sum_push(&s);
        }
        right = last_leaf(&s, grads, n, step, first + leaves - 1) && right;
        beam_sum_finish(&s);
        right = right && is_own_right(&s, grads, step, leaves * t->comm.size);
    }
    right = is_gathered(&s, n) && right;
    beam_sum_close(&s);
    free(grads);
    return right && !t->be.status;
}

/* Blocks of nothing, smaller than a unit, of less and more than a bucket, and of more buckets than slots. */
static void same_bits(void **state)
{
    test_ranks *t = *state;
    static const int64_t sizes[] = {0, 1, 10, 63, 64, 65, 4095, 4096, 4097, 30001, LARGEST};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
        for (int64_t leaves = 1; leaves <= 8; leaves *= 2)
            if (leaves * t->comm.size <= 8 || sizes[k] <= 100)
                assert_true(test_all(&t->comm, steps_are_right(t, sizes[k], leaves)));
    assert_true(is_order_seen(8, 100) && is_order_seen(6, 100));
}

/* Where a backend computes in bf16, gradients are still float. */
static void bf16(void **state)
{
    test_ranks *t = *state;
    const beam_dtype real = t->be.real;
    t->be.real = BEAM_BF16;
    const bool right = steps_are_right(t, 5000, 2);
    t->be.real = real;
    assert_true(test_all(&t->comm, right));
}

/* Three ranks with two leaves each, and one with any number. */
static void odd_numbers(void **state)
{
    test_ranks *t = *state;
    if (t->comm.size == 1)
        for (int64_t leaves = 1; leaves <= 9; leaves++)
            assert_true(steps_are_right(t, 5000, leaves));
    assert_true(test_all(&t->comm, steps_are_right(t, 5000, 2)));
}

/* Units make up their bucket, ranks' spans their units, buckets the block. */
static bool is_cut_right(beam_sum *s)
{
    beam_comm *comm = s->comm, each = *comm;
    int64_t end = beam_count(s->grads);
    bool right = s->buckets > 0;
    s->comm = &each;
    for (int b = 0; b < s->buckets; b++) {
        const int64_t first = beam_sum_unit(s, b, 0).first;
        int64_t units = first, owned = first;
        for (int u = 0; u < BEAM_UNITS; u++) {
            right = right && beam_sum_unit(s, b, u).first == units;
            units += beam_sum_unit(s, b, u).n;
        }
        for (each.rank = 0; each.rank < each.size; each.rank++) {
            right = right && beam_sum_own(s, b).first == owned;
            owned += beam_sum_own(s, b).n;
        }
        right = right && units == end && owned == end;
        end = first;
    }
    s->comm = comm;
    return right && end == 0;
}

static void cuts(void **state)
{
    test_ranks *t = *state;
    static const int64_t sizes[] = {1, 63, 5000, (1 << 23) + 12345};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        beam_tensor grads = beam_view(NULL, BEAM_F32, BEAM_DIMS(sizes[k]));
        grads.data = malloc(beam_bytes(grads));
        beam_sum s;
        const bool right = grads.data && beam_sum_open(&s, &t->comm, &t->be, grads, 1) == BEAM_OK;
        assert_true(test_all(&t->comm, right && is_cut_right(&s)));
        beam_sum_close(&s);
        free(grads.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits),
        cmocka_unit_test(odd_numbers),
        cmocka_unit_test(bf16),
        cmocka_unit_test(cuts),
    };
    return cmocka_run_group_tests(tests, test_ranks_open, test_ranks_close);
}
