/* What a step by several ranks is made of: updates and norms in parts are those of the whole, bit for bit,
 * and host numbers add up as gradients do. */
#include <math.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "optim/adamw.h"
#include "optim/clip.h"
#include "support/values.h"
#include "train/leaf_sums.h"
#include "train/shard.h"

enum { N = 20000, STEPS = 3, MOST_RANKS = 5 };

/* Three parameters with padding between them, and their gradients. */
typedef struct {
    beam_backend be;
    beam_param param[3];
    beam_params params;
    beam_tensor grads, values;
    double base_rate;
    float grad_block[N] __attribute__((aligned(64))), value_block[N] __attribute__((aligned(64)));
} fixture;

static void fixture_open(fixture *f)
{
    static const int64_t at[] = {0, 5008, 12000}, length[] = {5003, 6980, 8000};
    static const unsigned flags[] = {BEAM_TRAIN | BEAM_DECAY, BEAM_TRAIN, BEAM_TRAIN | BEAM_DECAY};
    assert_int_equal(beam_backend_cpu(&f->be, 1), BEAM_OK);
    memset(f->grad_block, 0, sizeof f->grad_block);
    memset(f->value_block, 0, sizeof f->value_block);
    f->grads = beam_view(f->grad_block, BEAM_F32, BEAM_DIMS(N));
    f->values = beam_view(f->value_block, BEAM_F32, BEAM_DIMS(N));
    for (int i = 0; i < 3; i++) {
        f->param[i] = (beam_param){.value = beam_view(f->value_block + at[i], BEAM_F32, BEAM_DIMS(length[i])),
                                   .grad = beam_view(f->grad_block + at[i], BEAM_F32, BEAM_DIMS(length[i])),
                                   .flags = flags[i]};
        test_fill_normal(f->param[i].value, "values", 1);
        test_fill_normal(f->param[i].grad, "gradients", 0.1);
    }
    f->params = (beam_params){.at = f->param, .n = 3};
    f->base_rate = 1;
}

/* The spans of one of several ranks, without the ranks. */
static void shard_of(fixture *f, int rank, int size, beam_shard *out)
{
    beam_comm alone, one_of = {.rank = rank, .size = size};
    beam_sum s;
    assert_int_equal(beam_comm_open(&alone), BEAM_OK);
    assert_int_equal(beam_sum_open(&s, &alone, &f->be, f->grads, 1), BEAM_OK);
    s.comm = &one_of;
    assert_int_equal(beam_shard_open(out, &s), BEAM_OK);
    s.comm = &alone;
    beam_sum_close(&s);
    beam_comm_close(&alone);
}

/* Steps of every rank's share in turn; the moments of all into `moments`. */
static void update_in_parts(fixture *f, int size, float moments[2][N])
{
    for (int rank = 0; rank < size; rank++) {
        beam_shard shard;
        beam_adamw_state s;
        const beam_comm one_of = {.rank = rank, .size = size};
        int64_t own = 0;
        shard_of(f, rank, size, &shard);
        for (int i = 0; i < shard.n_own; i++)
            own += shard.own[i].n;
        assert_int_equal(own, beam_sum_share(&one_of, N));
        assert_int_equal(beam_adamw_open(&s, f->params, f->grads, shard.own, shard.n_own, &f->be), BEAM_OK);
        s.base_rate = f->base_rate;
        beam_adamw_args args = {.learning_rate = 0.01,
                                .beta1 = 0.9,
                                .beta2 = 0.99,
                                .epsilon = 1e-8,
                                .weight_decay = 0.1,
                                .grad_scale = 0.5};
        for (args.step = 1; args.step <= STEPS; args.step++)
            beam_adamw_step(&s, &f->be, &args);
        for (int which = 0; which < 2; which++) {
            const beam_tensor block = beam_view(moments[which], BEAM_F32, BEAM_DIMS(N));
            beam_adamw_give(&s, &f->be, (beam_moment)which, block);
            beam_zero(&f->be, which ? s.v : s.m);
            beam_adamw_take(&s, &f->be, (beam_moment)which, block); /* and back, for the next `give` */
            beam_adamw_give(&s, &f->be, (beam_moment)which, block);
        }
        beam_adamw_close(&s, &f->be);
        beam_shard_close(&shard);
    }
    assert_int_equal(beam_sync(&f->be), BEAM_OK);
}

static void updates_in_parts(void **state)
{
    (void)state;
    static fixture whole, parts;
    static float a[2][N], b[2][N];
    fixture_open(&whole);
    update_in_parts(&whole, 1, a);
    assert_true(a[0][4000] != 0 && a[1][19999] != 0);
    for (int size = 2; size <= MOST_RANKS; size++) {
        memset(b, 1, sizeof b);
        fixture_open(&parts);
        update_in_parts(&parts, size, b);
        assert_memory_equal(whole.value_block, parts.value_block, sizeof whole.value_block);
        assert_memory_equal(a, b, sizeof a);
        beam_backend_close(&parts.be);
    }
    beam_backend_close(&whole.be);
}

/* Gates keep the learning rate, the base takes its share of it: each as if all had that rate. */
static void base_has_its_rate(void **state)
{
    (void)state;
    static fixture both, gates, base;
    static float moments[2][N];
    fixture *const f[] = {&both, &gates, &base};
    const double rate[] = {0.125, 1, 0.125};
    for (int i = 0; i < 3; i++) {
        fixture_open(f[i]);
        if (i < 2)
            f[i]->param[0].flags |= BEAM_MASK_GATE;
        f[i]->base_rate = rate[i];
        update_in_parts(f[i], 1, moments);
        beam_backend_close(&f[i]->be);
    }
    const size_t gate = (size_t)beam_count(both.param[0].value);
    assert_memory_equal(both.value_block, gates.value_block, gate * sizeof(float));
    assert_memory_equal(both.value_block + gate, base.value_block + gate, (N - gate) * sizeof(float));
    assert_memory_not_equal(both.value_block, base.value_block, gate * sizeof(float));
    assert_memory_not_equal(both.value_block + gate, gates.value_block + gate, (N - gate) * sizeof(float));
}

static void norms_in_parts(void **state)
{
    (void)state;
    static fixture f;
    static double whole[N], sums[N];
    double expected = 0;
    beam_shard shard;
    fixture_open(&f);
    shard_of(&f, 0, 1, &shard);
    assert_true(shard.n_own == 1 && shard.own[0].first == 0 && shard.own[0].n == N);
    const int64_t units = shard.units;
    beam_grad_squares(&f.be, f.grads, shard.unit, units, beam_view(whole, BEAM_F64, BEAM_DIMS(units)));
    for (int64_t i = 0; i < units; i++) { /* each by itself */
        double alone = 1;
        beam_grad_squares(&f.be, f.grads, shard.unit + i, 1, beam_view(&alone, BEAM_F64, BEAM_DIMS(1)));
        assert_memory_equal(&alone, &whole[i], sizeof alone);
    }
    beam_shard_close(&shard);
    for (int i = 0; i < N; i++)
        expected += (double)f.grad_block[i] * (double)f.grad_block[i];
    assert_true(fabs(beam_grad_norm(whole, units) - sqrt(expected)) <= 1e-12 * sqrt(expected));
    for (int size = 2; size <= MOST_RANKS; size++) {
        static double added[N];
        memset(added, 0, sizeof added);
        for (int rank = 0; rank < size; rank++) {
            shard_of(&f, rank, size, &shard);
            beam_grad_squares(&f.be, f.grads, shard.unit, units, beam_view(sums, BEAM_F64, BEAM_DIMS(units)));
            for (int64_t i = 0; i < units; i++)
                added[i] += sums[i];
            beam_shard_close(&shard);
        }
        assert_memory_equal(added, whole, (size_t)units * sizeof *whole);
    }
    beam_backend_close(&f.be);
}

/* Numbers whose sum depends on the order, two of each leaf. */
static void host_numbers(void **state)
{
    (void)state;
    enum { MOST = 9 };
    for (int64_t leaves = 1; leaves <= MOST; leaves++) {
        double leaf[MOST], x[2];
        beam_leaf_sums s;
        assert_int_equal(beam_leaf_sums_open(&s, 2, leaves), BEAM_OK);
        for (int pass = 0; pass < 2; pass++) { /* serves step after step */
            for (int64_t i = 0; i < leaves; i++) {
                leaf[i] = (1.0 + 1.0 / (double)(i + 3)) * (i % 2 ? 1e-13 : 1e3);
                x[0] = leaf[i];
                x[1] = -leaf[i];
                beam_leaf_sums_push(&s, x);
            }
            for (int64_t apart = 1; apart < leaves; apart *= 2)
                for (int64_t i = 0; i + apart < leaves; i += 2 * apart)
                    leaf[i] += leaf[i + apart];
            assert_true(x[0] == leaf[0] && x[1] == -leaf[0]);
        }
        beam_leaf_sums_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_in_parts),
        cmocka_unit_test(base_has_its_rate),
        cmocka_unit_test(norms_in_parts),
        cmocka_unit_test(host_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
