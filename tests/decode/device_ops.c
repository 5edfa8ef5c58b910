/* What decoding does on a device (kernels/decode/ops.h) against the processor, and both against plain loops
 * in double. Built twice: as decode.ops_simt over the simulated device, and as decode.ops_cuda for a GPU
 * (skipped where there is none). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "decode/device_pair.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/devices.h"

/* Products. */

static const int64_t token_counts[] = {1, 2, 3, 5, 8, 9, 17};
static const beam_dtype stored[] = {BEAM_F32, BEAM_BF16};

static const int64_t map_rows[BEAM_THIN_MAPS] = {13, 1, 6};

/* y = x w^T + bias with `maps` matrices, of which every other one has a bias and is stored in the other type.
 */
static void check_thin_gemm(pair *p, int64_t n, int maps, int64_t width, beam_dtype type)
{
    const beam_tensor x = random_tensor(1, BEAM_F32, BEAM_DIMS(n, width));
    beam_tensor w[BEAM_THIN_MAPS], bias[BEAM_THIN_MAPS];
    double *want[BEAM_THIN_MAPS];
    for (int m = 0; m < maps; m++) {
        const int64_t rows = map_rows[m];
        const beam_dtype other = type == BEAM_F32 ? BEAM_BF16 : BEAM_F32;
        w[m] = random_tensor((uint64_t)(20 + m), m % 2 ? other : type, BEAM_DIMS(rows, width));
        bias[m] = m % 2 ? (beam_tensor){0} : random_tensor((uint64_t)(30 + m), BEAM_F32, BEAM_DIMS(rows));
        want[m] = new_memory((size_t)(n * rows) * sizeof *want[m]);
        for (int64_t i = 0; i < n * rows; i++) {
            double sum = bias[m].data ? at(bias[m], i % rows) : 0;
            for (int64_t j = 0; j < width; j++)
                sum += at(w[m], i % rows * width + j) * at(x, i / rows * width + j);
            want[m][i] = sum;
        }
    }
    for (int i = 0; i < BOTH; i++) {
        beam_backend *be = &p->be[i];
        beam_thin_map map[BEAM_THIN_MAPS];
        const beam_tensor in = put(be, x), last = beam_rows(in, n - 1, 1);
        for (int m = 0; m < maps; m++)
            map[m] = (beam_thin_map){.y = unset(be, BEAM_DIMS(n, map_rows[m])),
                                     .w = put(be, w[m]),
                                     .bias = bias[m].data ? put(be, bias[m]) : bias[m]};
        beam_thin_gemm(be, map, maps, in);
        for (int m = 0; m < maps; m++) { /* and the last token and this matrix alone */
            const beam_tensor one = unset(be, BEAM_DIMS(1, map_rows[m]));
            const beam_thin_map alone = {.y = one, .w = map[m].w, .bias = map[m].bias};
            assert_near(be, map[m].y, want[m], 1e-6, "thin_gemm");
            beam_thin_gemm(be, &alone, 1, last);
            assert_equal(be, one, beam_rows(map[m].y, n - 1, 1), "thin_gemm of one");
            drop(be, (const beam_tensor[]){one, map[m].y, map[m].w, map[m].bias}, 4);
        }
        drop(be, &in, 1);
    }
    for (int m = 0; m < maps; m++) {
        free(want[m]);
        free(w[m].data);
        free(bias[m].data);
    }
    free(x.data);
}

static void products(void **state)
{
    static const int64_t widths[] = {1, 7, 64, 300};
    pair p;
    (void)state;
    open_pair(&p);
    for (size_t i = 0; i < sizeof token_counts / sizeof *token_counts; i++)
        for (size_t j = 0; j < sizeof widths / sizeof *widths; j++)
            for (int k = 0; k < 2; k++)
                check_thin_gemm(&p, token_counts[i], 1 + (int)(i + j) % BEAM_THIN_MAPS, widths[j], stored[k]);
    close_pair(&p);
}

static void rows_of_a_table(void **state)
{
    enum { ROWS = 11, WIDTH = 37, N = 5 };
    static const int32_t id[N] = {10, 0, 3, 3, 7};
    pair p;
    (void)state;
    open_pair(&p);
    for (int k = 0; k < 2; k++) {
        const beam_tensor table = random_tensor(3, stored[k], BEAM_DIMS(ROWS, WIDTH));
        double want[N * WIDTH];
        for (int i = 0; i < N * WIDTH; i++)
            want[i] = at(table, id[i / WIDTH] * WIDTH + i % WIDTH);
        for (int i = 0; i < BOTH; i++) {
            beam_backend *be = &p.be[i];
            const beam_tensor a = put(be, table), b = put_numbers(be, id, N),
                              y = unset(be, BEAM_DIMS(N, WIDTH));
            beam_unpack_rows(be, y, a, b);
            assert_near(be, y, want, 0, "unpack_rows");
            beam_free(be, a.data);
            beam_free(be, b.data);
            beam_free(be, y.data);
        }
        free(table.data);
    }
    close_pair(&p);
}

/* Latents: H heads of N own and r rotated numbers, R latents, Dv values. */
static void check_latents(pair *p, int64_t n, beam_dtype type)
{
    enum { H = 3, OWN = 5, ROTATED = 4, R = 19, DV = 6, Q = OWN + ROTATED, WIDE = R + ROTATED };
    const beam_tensor up = random_tensor(4, type, BEAM_DIMS(H * (OWN + DV), R)),
                      q = random_tensor(5, BEAM_F32, BEAM_DIMS(n, H, Q)),
                      mixed = random_tensor(6, BEAM_F32, BEAM_DIMS(n, H, R));
    double *wide = new_memory((size_t)(n * H * WIDE) * sizeof *wide);
    double *out = new_memory((size_t)(n * H * DV) * sizeof *out);
    for (int64_t row = 0; row < n * H; row++) {
        const int64_t h = row % H;
        for (int64_t c = 0; c < WIDE; c++) {
            wide[row * WIDE + c] = c < R ? 0 : at(q, row * Q + OWN + c - R);
            for (int64_t i = 0; c < R && i < OWN; i++)
                wide[row * WIDE + c] += at(q, row * Q + i) * at(up, (h * OWN + i) * R + c);
        }
        for (int64_t v = 0; v < DV; v++) {
            out[row * DV + v] = 0;
            for (int64_t i = 0; i < R; i++)
                out[row * DV + v] += at(mixed, row * R + i) * at(up, (H * OWN + h * DV + v) * R + i);
        }
    }
    for (int i = 0; i < BOTH; i++) {
        beam_backend *be = &p->be[i];
        const beam_tensor a = put(be, up), b = put(be, q), c = put(be, mixed);
        const beam_tensor w = unset(be, BEAM_DIMS(n, H, WIDE)), o = unset(be, BEAM_DIMS(n, H, DV));
        beam_latent_widen(be, w, b, a);
        beam_latent_narrow(be, o, c, a);
        assert_near(be, w, wide, 1e-6, "latent_widen");
        assert_near(be, o, out, 1e-6, "latent_narrow");
        void *const all[] = {a.data, b.data, c.data, w.data, o.data};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            beam_free(be, all[j]);
    }
    free(wide);
    free(out);
    free(up.data);
    free(q.data);
    free(mixed.data);
}

static void latents(void **state)
{
    pair p;
    (void)state;
    open_pair(&p);
    for (size_t i = 0; i < sizeof token_counts / sizeof *token_counts; i++)
        for (int k = 0; k < 2; k++)
            check_latents(&p, token_counts[i], stored[k]);
    close_pair(&p);
}

/* The cache. */

typedef struct {
    const char *name;
    int64_t heads, groups, key_width, value_width, positions, window;
    bool latent; /* values are the first numbers of keys */
    int32_t position[3];
} look;

enum { SEQUENCES = 3, TOKENS = 3 };
static const int32_t sequence_of[TOKENS] = {2, 0, 1};

/* Parts of attention are 64 positions up to 2048 of them, and longer beyond. */
static const look looks[] = {
    {"first position", 2, 2, 8, 8, 4, 0, false, {0, 0, 0}},
    {"one tile", 4, 2, 12, 9, 64, 0, false, {63, 5, 40}},
    {"several parts", 4, 2, 12, 9, 300, 0, false, {299, 64, 128}},
    {"each head its keys", 5, 5, 16, 16, 130, 0, false, {129, 63, 64}},
    {"three to a key", 6, 2, 16, 16, 70, 0, false, {69, 1, 2}},
    {"eight to a key", 8, 1, 16, 16, 70, 0, false, {69, 1, 2}},
    {"more than eight to a key", 11, 1, 16, 16, 70, 0, false, {69, 1, 2}},
    {"wide values", 1, 1, 8, 300, 70, 0, false, {69, 1, 2}},
    {"latents", 9, 1, 24, 20, 100, 0, true, {99, 64, 7}},
    {"ring", 2, 1, 8, 8, 70, 66, false, {500, 69, 70}},
    {"short window", 2, 1, 8, 8, 7, 3, false, {100, 2, 3}},
    {"longer parts", 1, 1, 4, 4, 2200, 0, false, {2199, 2047, 2048}},
};

/* What attention does, over a cache whose row p mod P holds position p. */
static void attend(const look *l, beam_tensor q, beam_tensor key, beam_tensor value, double scale,
                   double *out)
{
    const int64_t share = l->heads / l->groups, wv = l->value_width, stride = value.dim[3];
    double *score = new_memory((size_t)(l->positions + 1) * sizeof *score);
    for (int64_t row = 0; row < TOKENS * l->heads; row++) {
        const int64_t t = row / l->heads, group = row % l->heads / share, to = l->position[t] + 1;
        const int64_t from = l->window > 0 && to > l->window ? to - l->window : 0;
        const int64_t block = (sequence_of[t] * l->groups + group) * l->positions;
        double top = -INFINITY, sum = 0;
        for (int64_t s = from; s < to; s++) {
            double dot = 0;
            for (int64_t i = 0; i < l->key_width; i++)
                dot += at(q, row * l->key_width + i) * at(key, (block + s % l->positions) * l->key_width + i);
            score[s - from] = scale * dot;
            top = fmax(top, score[s - from]);
        }
        for (int64_t s = from; s < to; s++)
            sum += score[s - from] = exp(score[s - from] - top);
        for (int64_t i = 0; i < wv; i++) {
            out[row * wv + i] = 0;
            for (int64_t s = from; s < to; s++)
                out[row * wv + i] +=
                    score[s - from] / sum * at(value, (block + s % l->positions) * stride + i);
        }
    }
    free(score);
}

static void check_attention(pair *p, const look *l)
{
    const double scale = 1.7;
    const beam_tensor q = random_tensor(7, BEAM_F32, BEAM_DIMS(TOKENS, l->heads, l->key_width));
    const beam_tensor key =
        random_tensor(8, BEAM_F32, BEAM_DIMS(SEQUENCES, l->groups, l->positions, l->key_width));
    const beam_tensor value =
        l->latent ? key
                  : random_tensor(9, BEAM_F32, BEAM_DIMS(SEQUENCES, l->groups, l->positions, l->value_width));
    double *want = new_memory((size_t)(TOKENS * l->heads * l->value_width) * sizeof *want);
    attend(l, q, key, value, scale, want);
    for (int i = 0; i < BOTH; i++) {
        beam_backend *be = &p->be[i];
        const beam_places places = {put_numbers(be, sequence_of, TOKENS),
                                    put_numbers(be, l->position, TOKENS)};
        const beam_tensor k = put(be, key), v = l->latent ? k : put(be, value), from = put(be, q);
        const beam_tensor out = unset(be, BEAM_DIMS(TOKENS, l->heads, l->value_width));
        const int64_t floats = beam_cache_room(be, TOKENS, l->heads, l->value_width, l->positions);
        const beam_tensor room = unset(be, BEAM_DIMS(floats));
        const beam_attention_rule rule = {.scale = scale, .window = l->window};
        beam_cache_attention(be, out, from, (beam_cache){k, v}, places, rule, room);
        assert_near(be, out, want, 2e-6, l->name);
        void *const all[] = {places.sequence.data,
                             places.position.data,
                             k.data,
                             l->latent ? NULL : v.data,
                             from.data,
                             out.data,
                             room.data};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            beam_free(be, all[j]);
    }
    free(want);
    free(q.data);
    if (!l->latent)
        free(value.data);
    free(key.data);
}

static void attention(void **state)
{
    pair p;
    (void)state;
    open_pair(&p);
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
        check_attention(&p, &looks[i]);
    close_pair(&p);
}

/* Attention of a token over 200 positions, beside `n - 1` others, in a cache of so many positions. */
static void look_back(beam_backend *be, int64_t n, int64_t positions, float out[])
{
    enum { HEADS = 2, WIDTH = 8, SEEN = 200 };
    static const int32_t sequence[TOKENS] = {1, 0, 2}, position[TOKENS] = {SEEN - 1, 3, 150};
    beam_tensor cache = random_tensor(13, BEAM_F32, BEAM_DIMS(SEQUENCES, 1, positions, WIDTH));
    for (int64_t i = 0; i < SEEN * WIDTH; i++) /* the token's own, in a cache of any length */
        ((float *)cache.data)[positions * WIDTH + i] = number(14, i);
    const beam_tensor q = random_tensor(15, BEAM_F32, BEAM_DIMS(n, HEADS, WIDTH));
    const beam_places places = {put_numbers(be, sequence, n), put_numbers(be, position, n)};
    const beam_tensor k = put(be, cache), from = put(be, q), to = unset(be, BEAM_DIMS(n, HEADS, WIDTH));
    const beam_tensor room = unset(be, BEAM_DIMS(beam_cache_room(be, n, HEADS, WIDTH, positions)));
    beam_cache_attention(be, to, from, (beam_cache){k, k}, places, (beam_attention_rule){.scale = 1}, room);
    beam_download(be, out, beam_rows(to, 0, 1));
    need(beam_sync(be));
    void *const all[] = {places.sequence.data, places.position.data, k.data, from.data, to.data, room.data};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        beam_free(be, all[i]);
    free(cache.data);
    free(q.data);
}

/* The same bits whoever else is there, and however long the cache is. */
static void attention_of_one(void **state)
{
    float alone[16], beside[16], in_long[16];
    pair p;
    (void)state;
    open_pair(&p);
    for (int i = 0; i < BOTH; i++) {
        look_back(&p.be[i], 1, 200, alone);
        look_back(&p.be[i], 3, 200, beside);
        look_back(&p.be[i], 1, 9000, in_long);
        assert_memory_equal(beside, alone, sizeof alone);
        assert_memory_equal(in_long, alone, sizeof alone);
    }
    close_pair(&p);
}

/* What the memory's speed is measured with. */
static void rows_are_read(void **state)
{
    enum { ROWS = 3, WIDTH = 8192 };
    const beam_tensor x = random_tensor(16, BEAM_F32, BEAM_DIMS(ROWS, WIDTH));
    double want[ROWS] = {0};
    pair p;
    (void)state;
    open_pair(&p);
    for (int64_t i = 0; i < ROWS * WIDTH; i++)
        want[i / WIDTH] += at(x, i) * at(x, i);
    for (int i = 0; i < BOTH; i++) {
        beam_backend *be = &p.be[i];
        const beam_tensor there = put(be, x), sum = unset(be, BEAM_DIMS(ROWS));
        beam_read_rows(be, sum, there);
        assert_near(be, sum, want, 2e-6, "read_rows");
        beam_free(be, there.data);
        beam_free(be, sum.data);
    }
    free(x.data);
    close_pair(&p);
}

/* Recorded operations run when they are replayed, with what memory then holds, and not before. */
static void recordings(void **state)
{
    enum { N = 3, WIDTH = 4 };
    static const int32_t first[N] = {0, 1, 2}, second[N] = {2, 2, 0};
    pair p;
    (void)state;
    open_pair(&p);
    assert_false(beam_can_record(&p.be[HERE]));
    beam_backend *be = &p.be[THERE];
    assert_true(beam_can_record(be));
    const beam_tensor table = random_tensor(12, BEAM_F32, BEAM_DIMS(N, WIDTH)), there = put(be, table);
    const beam_tensor id = put_numbers(be, first, N), y = unset(be, BEAM_DIMS(N, WIDTH));
    const double nothing[N * WIDTH] = {0};
    double want[N * WIDTH];
    int32_t *ids = beam_alloc_host(be, N * sizeof *ids);
    float *rows = beam_alloc_host(be, N * WIDTH * sizeof *rows);
    assert_true(ids && rows);
    beam_zero(be, y);
    beam_record(be);
    beam_send(be, id, ids);
    beam_unpack_rows(be, y, there, id);
    beam_fetch(be, rows, y);
    void *recording = beam_end_record(be);
    assert_near(be, y, nothing, 0, "before a replay");
    for (int round = 0; round < 2; round++) {
        memcpy(ids, round ? second : first, sizeof first);
        for (int i = 0; i < N * WIDTH; i++)
            want[i] = at(table, ids[i / WIDTH] * WIDTH + i % WIDTH);
        beam_replay(be, recording);
        assert_int_equal(beam_sync(be), BEAM_OK);
        for (int i = 0; i < N * WIDTH; i++)
            assert_true((double)rows[i] == want[i]);
    }
    assert_near(be, y, want, 0, "a replay");
    beam_forget(be, recording);
    beam_free_host(be, ids);
    beam_free_host(be, rows);
    beam_free_host(be, NULL);
    beam_record(be);
    beam_unpack_rows(be, y, there, id);
    be->status = BEAM_EDEVICE; /* something fails on the way */
    assert_null(beam_end_record(be));
    be->status = BEAM_OK;
    beam_unpack_rows(be, y, there, id); /* and runs at once again */
    assert_near(be, y, want, 0, "after a failure");
    beam_free(be, there.data);
    beam_free(be, id.data);
    beam_free(be, y.data);
    free(table.data);
    close_pair(&p);
}

int main(void)
{
    beam_cuda_device device;
    if (beam_cuda_devices(&device, 1) < 1) {
        printf("skipped: no CUDA device\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),      cmocka_unit_test(rows_of_a_table),
        cmocka_unit_test(latents),       cmocka_unit_test(attention),
        cmocka_unit_test(norms_of_sums), cmocka_unit_test(heads_are_finished),
        cmocka_unit_test(recordings),    cmocka_unit_test(attention_of_one),
        cmocka_unit_test(rows_are_read),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
#ifdef BEAM_TEST_SIMT /* threads and blocks in the opposite order */
    beam_simt_backwards(true);
    failed += cmocka_run_group_tests(tests, NULL, NULL);
#endif
    return failed;
}
