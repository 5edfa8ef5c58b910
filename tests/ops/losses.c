/* What the losses promise beyond their formulas: distillation of weight 0 is cross entropy, equal logits are
 * exactly no divergence, and a union counted by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/ops.h"
#include "support/block.h"
#include "support/compare.h"
#include "support/values.h"

enum { T = 7, V = 203 };

/* One of two ways to the same results. */
typedef struct {
    beam_tensor logits, loss, divergence, correct;
} side;

typedef struct {
    beam_backend be;
    test_block block;
    beam_tensor teacher, target;
    side a, b;
} fixture;

static side push_side(fixture *f)
{
    return (side){.logits = test_block_push(&f->block, f->be.real, BEAM_DIMS(T, V)),
                  .loss = test_block_push(&f->block, f->be.real, BEAM_DIMS(T)),
                  .divergence = test_block_push(&f->block, f->be.real, BEAM_DIMS(T)),
                  .correct = test_block_push(&f->block, BEAM_U8, BEAM_DIMS(T))};
}

static void push(fixture *f)
{
    f->teacher = test_block_push(&f->block, f->be.real, BEAM_DIMS(T, V));
    f->target = test_block_push(&f->block, BEAM_I32, BEAM_DIMS(T));
    f->a = push_side(f);
    f->b = push_side(f);
}

/* Token 2 is ignored; token 3 is right. */
static void open_fixture(fixture *f)
{
    assert_int_equal(beam_backend_cpu(&f->be, 2), BEAM_OK);
    f->block = test_block_measure();
    push(f);
    test_block_place(&f->block);
    push(f);
    test_fill_normal(f->teacher, "teacher", 3);
    test_fill_integers(f->target, "target", 0, V - 1);
    test_set(f->target, 2, -1);
    test_fill_normal(f->a.logits, "logits", 3);
    test_set(f->a.logits, 3 * V + (int64_t)test_get(f->target, 3), 20);
    memcpy(f->b.logits.data, f->a.logits.data, beam_bytes(f->a.logits));
}

static void close_fixture(fixture *f)
{
    assert_int_equal(beam_sync(&f->be), BEAM_OK);
    assert_true(test_block_guards(&f->block, f->block.bytes));
    test_block_free(&f->block);
    beam_backend_close(&f->be);
}

static void test_weight_0_is_cross_entropy(void **state)
{
    (void)state;
    for (int grad = 0; grad < 2; grad++) {
        fixture f;
        open_fixture(&f);
        const beam_distill_args args = {.temperature = 2, .grad_scale = 0.3, .want_grad = grad != 0};
        beam_distill(&f.be, f.a.logits, f.teacher, f.target, f.a.loss, f.a.divergence, f.a.correct, &args);
        beam_cross_entropy(&f.be, f.b.logits, f.target, f.b.loss, f.b.correct, 0.3, grad != 0);
        assert_true(test_same("loss", f.a.loss, f.b.loss) && test_same("correct", f.a.correct, f.b.correct));
        assert_true(test_same("logits", f.a.logits, f.b.logits));
        for (int64_t t = 0; t < T; t++)
            assert_true(t == 2 ? test_get(f.a.divergence, t) == 0 : test_get(f.a.divergence, t) > 0.1);
        assert_true(test_get(f.a.correct, 3) == 1);
        close_fixture(&f);
    }
}

/* At the teacher's own logits nothing is left to learn from it. */
static void test_equal_logits_do_not_diverge(void **state)
{
    (void)state;
    const double temperature[] = {0.3, 1, 2, 7};
    for (size_t i = 0; i < sizeof temperature / sizeof temperature[0]; i++) {
        fixture f;
        open_fixture(&f);
        const beam_distill_args args = {
            .weight = 1, .temperature = temperature[i], .grad_scale = 0.3, .want_grad = true};
        beam_distill(&f.be, f.a.logits, f.b.logits, f.target, f.a.loss, f.a.divergence, f.a.correct, &args);
        for (int64_t t = 0; t < T; t++)
            assert_true(test_get(f.a.divergence, t) == 0);
        for (int64_t k = 0; k < T * V; k++)
            assert_true(test_get(f.a.logits, k) == 0);
        close_fixture(&f);
    }
}

enum { TOKENS = 5, EXPERTS = 4, TOP_K = 2, GROUP = 2 };

typedef struct {
    beam_route route;
    beam_tensor counted, dgate, sum;
} union_fixture;

static void push_union(test_block *b, beam_dtype real, union_fixture *f)
{
    f->route = (beam_route){.expert = test_block_push(b, BEAM_I32, BEAM_DIMS(TOKENS, TOP_K)),
                            .gate = test_block_push(b, real, BEAM_DIMS(TOKENS, TOP_K)),
                            .first = test_block_push(b, BEAM_I32, BEAM_DIMS(EXPERTS + 1)),
                            .kept = test_block_push(b, BEAM_I32, BEAM_DIMS(EXPERTS))};
    f->counted = test_block_push(b, BEAM_U8, BEAM_DIMS(TOKENS));
    f->dgate = test_block_push(b, real, BEAM_DIMS(TOKENS, TOP_K));
    f->sum = test_block_push(b, BEAM_F64, BEAM_DIMS(2));
}

/* Tokens 0 and 2 form a group, 1 and 3 another of which none is counted; 4 is left over. In the first,
 * U = ((1 - 0.5 * 0.75) + (1 - 0 * 0.5)) / 4. */
static void test_union_by_hand(void **state)
{
    (void)state;
    const double expert[TOKENS * TOP_K] = {1, 2, 1, 3, 2, 1, 3, 2, 1, 3}, counted[TOKENS] = {1, 0, 1, 0, 1};
    const double q[TOKENS * TOP_K] = {0.5, 1, 1, 0.5, 0.5, 0.25, 0.5, 1, 0.5, 0.5};
    const double dgate[TOKENS * TOP_K] = {0.5 * 0.75, 0.5 * 0.5, 0, 0, 0, 0.5 * 0.5, 0, 0, 0, 0};
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 2), BEAM_OK);
    union_fixture f;
    test_block b = test_block_measure();
    push_union(&b, be.real, &f);
    test_block_place(&b);
    push_union(&b, be.real, &f);
    for (int64_t i = 0; i < TOKENS * TOP_K; i++) {
        test_set(f.route.expert, i, expert[i]);
        test_set(f.route.gate, i, q[i]);
        test_set(f.counted, i / TOP_K, counted[i / TOP_K]);
    }
    test_fill(f.sum, 3);
    beam_union_penalty(&be, f.dgate, f.sum, &f.route, f.counted, GROUP, 2);
    assert_int_equal(beam_sync(&be), BEAM_OK);
    assert_true(test_get(f.sum, 0) == 3 + 1.625 / 4 && test_get(f.sum, 1) == 3 + 1);
    for (int64_t i = 0; i < TOKENS * TOP_K; i++)
        assert_true(test_get(f.dgate, i) == dgate[i]);
    assert_true(test_block_guards(&b, b.bytes));
    test_block_free(&b);
    beam_backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weight_0_is_cross_entropy),
        cmocka_unit_test(test_equal_logits_do_not_diverge),
        cmocka_unit_test(test_union_by_hand),
    };
    return cmocka_run_group_tests_name("ops.losses", tests, NULL, NULL);
}
