/* What stands between the products of a decoded token: residual and norm, heads and their way into the cache.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "decode/device_pair.h"

static const double epsilon = 1e-3;

/* x[n] * weight / rms(x) */
static void normalize(double *x, int64_t n, beam_tensor weight)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (int64_t i = 0; i < n; i++)
        x[i] *= at(weight, i) / sqrt(sum / (double)n + epsilon);
}

static double *numbers(beam_tensor t)
{
    double *x = new_memory((size_t)beam_count(t) * sizeof *x);
    for (int64_t i = 0; i < beam_count(t); i++)
        x[i] = at(t, i);
    return x;
}

static void check_norm(beam_backend *be, beam_tensor x, beam_tensor more, beam_tensor weight)
{
    const int64_t n = x.dim[0], width = x.dim[1];
    double *sum = numbers(x);
    for (int64_t i = 0; more.data && i < n * width; i++)
        sum[i] += at(more, i);
    const beam_tensor a = put(be, x), b = more.data ? put(be, more) : more, w = put(be, weight),
                      one = put(be, beam_rows(x, n - 1, 1)), y = more.data ? unset(be, x.ndim, x.dim) : a,
                      y_one = more.data ? unset(be, BEAM_DIMS(1, width)) : one;
    beam_add_rmsnorm(be, y, a, b, w, epsilon);
    if (more.data)
        assert_near(be, a, sum, 1e-7, "the sum of add_rmsnorm");
    for (int64_t t = 0; t < n; t++)
        normalize(sum + t * width, width, weight);
    assert_near(be, y, sum, 1e-6, "add_rmsnorm");
    beam_add_rmsnorm(be, y_one, one, more.data ? beam_rows(b, n - 1, 1) : b, w, epsilon);
    assert_equal(be, y_one, beam_rows(y, n - 1, 1), "add_rmsnorm of one");
    drop(be, (const beam_tensor[]){a, b, w, one}, 4);
    if (more.data)
        drop(be, (const beam_tensor[]){y, y_one}, 2);
    free(sum);
}

/* With something to add, and in place without. */
void norms_of_sums(void **state)
{
    static const int64_t widths[] = {1, 7, 64, 300, 2051, 2052}, counts[] = {1, 2, 9};
    pair p;
    (void)state;
    open_pair(&p);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (size_t j = 0; j < sizeof counts / sizeof *counts; j++) {
            const beam_tensor x = random_tensor(40, BEAM_F32, BEAM_DIMS(counts[j], widths[i])),
                              more = random_tensor(41, BEAM_F32, x.ndim, x.dim),
                              weight = random_tensor(42, BEAM_F32, BEAM_DIMS(widths[i]));
            for (int k = 0; k < BOTH; k++) {
                check_norm(&p.be[k], x, more, weight);
                check_norm(&p.be[k], x, (beam_tensor){0}, weight);
            }
            free(x.data);
            free(more.data);
            free(weight.data);
        }
    close_pair(&p);
}

/* Heads. */

enum { TOKENS = 3, SEQUENCES = 3, POSITIONS = 5, ANGLES = 14 };
static const int32_t sequence_of[TOKENS] = {2, 0, 2}, position_of[TOKENS] = {12, 4, 13};

typedef struct {
    int64_t heads, width, norm; /* norm: numbers of its weight; 0: none */
    bool rotates, cached;
} head_shape;

typedef struct {
    const char *name;
    int64_t half;
    double limit;
    int kinds;
    head_shape kind[BEAM_HEADS];
} head_case;

static const head_case head_cases[] = {
    {"a norm of each head", 4, 0, 3, {{4, 8, 8, true, false}, {2, 8, 8, true, true}, {2, 8, 0, false, true}}},
    {"one over all, clipped",
     3,
     0.6,
     3,
     {{5, 6, 30, true, false}, {2, 6, 12, true, true}, {2, 6, 0, false, true}}},
    {"none", 3, 0, 3, {{4, 6, 0, true, false}, {4, 6, 0, true, true}, {4, 5, 0, false, true}}},
    {"none, clipped", 1, 0.3, 3, {{1, 2, 0, true, false}, {1, 2, 0, true, true}, {1, 1, 0, false, true}}},
    {"latent keys", 2, 0, 2, {{3, 9, 0, true, false}, {1, 14, 10, true, true}}},
    {"wide heads",
     30,
     0,
     3,
     {{2, 100, 100, true, false}, {1, 330, 270, true, true}, {1, 300, 300, false, true}}},
    {"many heads", 20, 0, 1, {{9, 40, 360, true, true}}},
    {"the way alone", 0, 0, 1, {{2, 9, 0, false, true}}},
};

/* What becomes of x, in double. */
static double *finished(const head_case *c, const head_shape *s, beam_tensor x, beam_tensor norm,
                        beam_tensor cosine, beam_tensor sine)
{
    const int64_t width = s->width, all = s->heads * width, half = c->half;
    double *y = numbers(x);
    for (int64_t i = 0; s->norm > 0 && i < TOKENS * all; i += s->norm == all ? all : width)
        normalize(y + i, s->norm, norm);
    for (int64_t i = 0; c->limit > 0 && i < TOKENS * all; i++)
        y[i] = fmax(fmin(y[i], c->limit), -c->limit);
    for (int64_t row = 0; s->rotates && row < TOKENS * s->heads; row++)
        for (int64_t i = 0; i < half; i++) {
            const int64_t angle = position_of[row / s->heads] * half + i;
            double *a = y + (row + 1) * width - 2 * half + i, *b = a + half;
            const double u = *a, v = *b;
            *a = u * at(cosine, angle) - v * at(sine, angle);
            *b = v * at(cosine, angle) + u * at(sine, angle);
        }
    return y;
}

/* A cache with the rows of y in it. */
static double *filled(const head_shape *s, beam_tensor cache, const double *y)
{
    double *want = numbers(cache);
    for (int64_t i = 0; i < TOKENS * s->heads * s->width; i++) {
        const int64_t row = i / s->width, t = row / s->heads, head = row % s->heads;
        const int64_t block = (sequence_of[t] * s->heads + head) * POSITIONS;
        want[(block + position_of[t] % POSITIONS) * s->width + i % s->width] = y[i];
    }
    return want;
}

typedef struct {
    beam_tensor x[BEAM_HEADS], norm[BEAM_HEADS], cache[BEAM_HEADS], cosine, sine; /* on the host */
    double *want[BEAM_HEADS];
} head_data;

static void make_data(head_data *d, const head_case *c)
{
    *d = (head_data){.cosine = random_tensor(50, BEAM_F32, BEAM_DIMS(ANGLES, c->half)),
                     .sine = random_tensor(51, BEAM_F32, BEAM_DIMS(ANGLES, c->half))};
    for (int i = 0; i < c->kinds; i++) {
        const head_shape *s = &c->kind[i];
        const uint64_t stream = (uint64_t)(60 + 3 * i);
        d->x[i] = random_tensor(stream, BEAM_F32, BEAM_DIMS(TOKENS, s->heads, s->width));
        if (s->norm > 0)
            d->norm[i] = random_tensor(stream + 1, BEAM_F32, BEAM_DIMS(s->norm));
        if (s->cached)
            d->cache[i] =
                random_tensor(stream + 2, BEAM_F32, BEAM_DIMS(SEQUENCES, s->heads, POSITIONS, s->width));
        d->want[i] = finished(c, s, d->x[i], d->norm[i], d->cosine, d->sine);
        if (s->cached) {
            double *rows = d->want[i];
            d->want[i] = filled(s, d->cache[i], rows);
            free(rows);
        }
    }
}

static void free_data(head_data *d)
{
    for (int i = 0; i < BEAM_HEADS; i++) {
        free(d->x[i].data);
        free(d->norm[i].data);
        free(d->cache[i].data);
        free(d->want[i]);
    }
    free(d->cosine.data);
    free(d->sine.data);
}

static beam_tensor put_if(beam_backend *be, beam_tensor t)
{
    return t.data ? put(be, t) : t;
}

/* `n` tokens from number `first` on at a time. */
static void finish(beam_backend *be, const head_case *c, const head_data *d, int64_t n, beam_heads *heads)
{
    const beam_heads_rule rule = {
        .epsilon = epsilon, .limit = c->limit, .cosine = put(be, d->cosine), .sine = put(be, d->sine)};
    const beam_places places = {put_numbers(be, sequence_of, TOKENS), put_numbers(be, position_of, TOKENS)};
    for (int i = 0; i < c->kinds; i++)
        heads[i] = (beam_heads){.x = put(be, d->x[i]),
                                .norm = put_if(be, d->norm[i]),
                                .rotates = c->kind[i].rotates,
                                .cache = put_if(be, d->cache[i])};
    for (int64_t first = 0; first < TOKENS; first += n) {
        const beam_places some = {beam_rows(places.sequence, first, n), beam_rows(places.position, first, n)};
        beam_heads rows[BEAM_HEADS];
        for (int i = 0; i < c->kinds; i++) {
            rows[i] = heads[i];
            rows[i].x = beam_rows(heads[i].x, first, n);
        }
        beam_finish_heads(be, rows, c->kinds, rule, some);
    }
    need(beam_sync(be));
    drop(be, (const beam_tensor[]){rule.cosine, rule.sine, places.sequence, places.position}, 4);
}

static void check_heads(beam_backend *be, const head_case *c, const head_data *d)
{
    beam_heads together[BEAM_HEADS], alone[BEAM_HEADS];
    finish(be, c, d, TOKENS, together);
    finish(be, c, d, 1, alone);
    for (int i = 0; i < c->kinds; i++) {
        const beam_heads *a = &together[i], *b = &alone[i];
        const bool cached = c->kind[i].cached;
        assert_near(be, cached ? a->cache : a->x, d->want[i], 1e-6, c->name);
        assert_equal(be, cached ? a->cache : a->x, cached ? b->cache : b->x, c->name);
        drop(be, (const beam_tensor[]){a->x, a->norm, a->cache, b->x, b->norm, b->cache}, 6);
    }
}

void heads_are_finished(void **state)
{
    pair p;
    (void)state;
    open_pair(&p);
    for (size_t i = 0; i < sizeof head_cases / sizeof *head_cases; i++) {
        head_data d;
        make_data(&d, &head_cases[i]);
        for (int k = 0; k < BOTH; k++)
            check_heads(&p.be[k], &head_cases[i], &d);
        free_data(&d);
    }
    close_pair(&p);
}
