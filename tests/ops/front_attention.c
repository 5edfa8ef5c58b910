/* The front of attention, its rotary positions and its keys: calls with wrong shapes stop the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/ops.h"
#include "support/stops.h"

enum { T = 2, H = 4, G = 2, DH = 5, DV = 3, R = 2 };

/* The arguments of one call. Every tensor has the same numbers: outputs are written, but not looked at. */
typedef struct {
    beam_backend be;
    float numbers[T * H * (DH + R)];
    int32_t integers[T];
    beam_tensor x, cosine, sine, position;
    beam_tensor own, shared, key;
    beam_tensor out, lse, q, k, v;
    beam_sequences seq;
    beam_attention_rule rule;
} call;

static beam_tensor real(call *c, int ndim, const int64_t dim[])
{
    return beam_view(c->numbers, BEAM_F32, ndim, dim);
}

/* A call with nothing wrong, which each test then spoils in one place. */
static void make_good(call *c)
{
    *c = (call){.integers = {0, T}, .rule = {.scale = 1}};
    assert_int_equal(beam_backend_cpu(&c->be, 1), BEAM_OK);
    c->x = real(c, BEAM_DIMS(T, H, DH));
    c->cosine = c->sine = real(c, BEAM_DIMS(T + 1, R / 2));
    c->position = beam_view(c->integers, BEAM_I32, BEAM_DIMS(T));
    c->own = real(c, BEAM_DIMS(T, H, DH));
    c->shared = real(c, BEAM_DIMS(T, R));
    c->key = real(c, BEAM_DIMS(T, H, DH + R));
    c->q = real(c, BEAM_DIMS(T, H, DH));
    c->k = real(c, BEAM_DIMS(T, G, DH));
    c->v = real(c, BEAM_DIMS(T, G, DV));
    c->out = real(c, BEAM_DIMS(T, H, DV));
    c->lse = real(c, BEAM_DIMS(T, H));
    c->seq = (beam_sequences){.first = beam_view(c->integers, BEAM_I32, BEAM_DIMS(2)), .n = 1};
}

static void rope(void *p)
{
    call *c = p;
    beam_rope(&c->be, c->x, c->cosine, c->sine, c->position, false);
}

static void latent_keys(void *p)
{
    call *c = p;
    beam_latent_keys(&c->be, c->key, c->own, c->shared);
}

static void latent_keys_grad(void *p)
{
    call *c = p;
    beam_latent_keys_grad(&c->be, c->own, c->shared, c->key);
}

static void attention(void *p)
{
    call *c = p;
    beam_attention(&c->be, c->out, c->lse, c->q, c->k, c->v, c->seq, c->rule);
}

static void attention_grad(void *p)
{
    call *c = p;
    beam_attention_grad(&c->be, c->q, c->k, c->v, c->out, c->out, c->lse, c->q, c->k, c->v, c->seq, c->rule);
}

/* Whether `run` stops once `*place`, a tensor of c, has another shape; puts it back. */
static bool stops_with(void (*run)(void *), call *c, beam_tensor *place, int ndim, const int64_t dim[])
{
    const beam_tensor before = *place;
    *place = real(c, ndim, dim);
    const bool stopped = test_stops(run, c);
    *place = before;
    return stopped;
}

static void test_rope(void **state)
{
    (void)state;
    call c;
    make_good(&c);
    assert_false(test_stops(rope, &c));
    assert_true(stops_with(rope, &c, &c.x, BEAM_DIMS(T, H * DH)));
    assert_true(stops_with(rope, &c, &c.x, BEAM_DIMS(T, H, R - 1))); /* heads narrower than what rotates */
    assert_true(stops_with(rope, &c, &c.x, BEAM_DIMS(T + 1, H, R))); /* more tokens than positions */
    assert_true(stops_with(rope, &c, &c.sine, BEAM_DIMS(T + 1, R)));
    c.cosine = c.sine = real(&c, BEAM_DIMS(T, 1, R / 2));
    assert_true(test_stops(rope, &c));
    beam_backend_close(&c.be);
}

static void test_latent_keys(void **state)
{
    (void)state;
    void (*const run[])(void *) = {latent_keys, latent_keys_grad};
    for (int i = 0; i < 2; i++) {
        call c;
        make_good(&c);
        assert_false(test_stops(run[i], &c));
        assert_true(stops_with(run[i], &c, &c.key, BEAM_DIMS(T, H, DH)));
        assert_true(stops_with(run[i], &c, &c.key, BEAM_DIMS(T, G, DH + R)));
        assert_true(stops_with(run[i], &c, &c.own, BEAM_DIMS(T, DH)));
        assert_true(stops_with(run[i], &c, &c.shared, BEAM_DIMS(T - 1, R)));
        assert_true(stops_with(run[i], &c, &c.shared, BEAM_DIMS(T, 1, R)));
        c.shared = real(&c, BEAM_DIMS(T, 0));
        assert_true(stops_with(run[i], &c, &c.key, BEAM_DIMS(T, H, DH)));
        beam_backend_close(&c.be);
    }
}

static void test_attention(void **state)
{
    (void)state;
    void (*const run[])(void *) = {attention, attention_grad};
    for (int i = 0; i < 2; i++) {
        call c;
        make_good(&c);
        assert_false(test_stops(run[i], &c));
        assert_true(stops_with(run[i], &c, &c.q, BEAM_DIMS(T, H - 1, DH))); /* G does not divide it */
        assert_true(stops_with(run[i], &c, &c.k, BEAM_DIMS(T, G, DH - 1)));
        assert_true(stops_with(run[i], &c, &c.v, BEAM_DIMS(T, 1, DV)));
        assert_true(stops_with(run[i], &c, &c.v, BEAM_DIMS(T, G, DH)));
        assert_true(stops_with(run[i], &c, &c.out, BEAM_DIMS(T, H, DH)));
        assert_true(stops_with(run[i], &c, &c.lse, BEAM_DIMS(T, G)));
        c.rule.window = -1;
        assert_true(test_stops(run[i], &c));
        c.rule.window = 1;
        assert_false(test_stops(run[i], &c));
        c.seq.n = 2; /* without their bounds */
        assert_true(test_stops(run[i], &c));
        beam_backend_close(&c.be);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_latent_keys),
        cmocka_unit_test(test_attention),
    };
    return cmocka_run_group_tests_name("ops.front_attention", tests, NULL, NULL);
}
