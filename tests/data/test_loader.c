/* Batches: nothing lost, nothing twice, no document sees another, and the order depends on the row number. */
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "data/cmocka_all.h"
#include "data/loader.h"
#include "data/scratch.h"
#include "data/tokens.h"

enum { DOCUMENTS = 120, SEQUENCE = 32, MOST = 8000 };

static int32_t id[MOST];
static uint8_t loss[MOST];
static int64_t start[DOCUMENTS + 1];

/* Every token's id is its place in the file, so that a batch shows where each token came from. */
static void write_tokens(const char *name, uint64_t seed)
{
    for (int d = 0; d < DOCUMENTS; d++) {
        const int64_t n =
            d % 30 == 7
                ? SEQUENCE + 1
                : 1 + (int64_t)(beam_random_bits(seed, 0, (uint64_t)d) % (uint64_t)(d % 10 == 0 ? 200 : 30));
        start[d + 1] = start[d] + n;
    }
    assert_true(start[DOCUMENTS] <= MOST);
    for (int64_t i = 0; i < start[DOCUMENTS]; i++) {
        id[i] = (int32_t)i;
        loss[i] = beam_random_uniform(seed, 1, (uint64_t)i) < 0.8;
    }
    const beam_tokens t = {.tokens = start[DOCUMENTS],
                           .documents = DOCUMENTS,
                           .vocab = MOST,
                           .id = id,
                           .loss = loss,
                           .start = start};
    assert_int_equal(beam_tokens_write(scratch_path(name), &t), BEAM_OK);
}

static beam_loader_options options(void)
{
    return (beam_loader_options){.path = scratch_path("t.h5"),
                                 .sequence = SEQUENCE,
                                 .rows = 3,
                                 .packing = true,
                                 .shuffle = true,
                                 .seed = 5};
}

static beam_loader *open_loader(beam_loader_options o)
{
    beam_loader *l;
    assert_int_equal(beam_loader_open(&o, &l), BEAM_OK);
    return l;
}

/* The document of a token. */
static int document_of(int64_t token)
{
    int d = 0;
    while (token >= start[d + 1])
        d++;
    return d;
}

/* One sequence of a batch: consecutive tokens of one document, or padding. */
static void check_sequence(const beam_batch *b, int32_t from, int32_t to)
{
    for (int32_t i = from; i < to; i++) {
        assert_int_equal(b->position[i], i - from);
        assert_int_equal(b->counted[i], b->counted[from]);
        if (!b->counted[i]) {
            assert_int_equal(b->id[i], 0);
            assert_int_equal(b->target[i], -1);
            continue;
        }
        const int32_t token = b->id[i], next = token + 1;
        assert_int_equal(token, b->id[from] + (i - from));
        assert_int_equal(document_of(token), document_of(b->id[from]));
        const bool last = next == start[document_of(token) + 1];
        assert_int_equal(b->target[i], last || !loss[next] ? -1 : next);
    }
}

/* Everything that holds for any batch; adds up how often each token is an input and a target. */
static void check_batch(const beam_batch *b, int64_t rows, int *inputs, int *targets)
{
    int64_t target_sum = 0, counted_sum = 0;
    assert_int_equal(b->tokens, rows * SEQUENCE);
    assert_int_equal(b->first[0], 0);
    assert_int_equal(b->first[b->sequences], b->tokens);
    for (int s = 0; s < b->sequences; s++) {
        assert_true(b->first[s] < b->first[s + 1]);
        assert_int_equal(b->first[s] / SEQUENCE, (b->first[s + 1] - 1) / SEQUENCE);
        check_sequence(b, b->first[s], b->first[s + 1]);
    }
    for (int64_t i = 0; i < b->tokens; i++) {
        if (b->counted[i])
            inputs[b->id[i]]++;
        if (b->target[i] >= 0)
            targets[b->target[i]]++;
        target_sum += b->target[i] >= 0;
        counted_sum += b->counted[i];
    }
    assert_int_equal(b->targets, target_sum);
    assert_int_equal(b->counted_total, counted_sum);
}

/* Reads one epoch: each token is an input once, and a target once if it is one. */
static void check_epoch(beam_loader_options o, int64_t epoch)
{
    static int inputs[MOST], targets[MOST];
    memset(inputs, 0, sizeof inputs);
    memset(targets, 0, sizeof targets);
    beam_loader *l = open_loader(o);
    const int64_t rows = beam_loader_rows(l), begin = epoch * rows, end = begin + rows;
    for (int64_t r = begin; r < end; r += o.rows) {
        const beam_batch *b;
        int64_t n_targets, n_counted;
        assert_int_equal(beam_loader_read(l, r, end, &b), BEAM_OK);
        check_batch(b, o.rows, inputs, targets);
        beam_loader_count(l, r, r + o.rows < end ? o.rows : end - r, &n_targets, &n_counted);
        assert_int_equal(n_targets, b->targets);
        assert_int_equal(n_counted, b->counted_total);
    }
    for (int d = 0; d < DOCUMENTS; d++)
        for (int64_t i = start[d]; i < start[d + 1]; i++) {
            assert_int_equal(inputs[i], 1);
            assert_int_equal(targets[i], i > start[d] && loss[i]);
        }
    beam_loader_close(l);
}

static void an_epoch_is_complete(void **state)
{
    (void)state;
    beam_loader_options o = options();
    for (int kind = 0; kind < 4; kind++)
        for (o.rows = 1; o.rows <= 7; o.rows += 3) {
            o.packing = kind & 1;
            o.shuffle = kind & 2;
            check_epoch(o, 0);
            check_epoch(o, 3);
        }
}

/* Rows 0..n of the endless sequence, read `step` at a time. */
static int32_t *read_rows(beam_loader_options o, int64_t from, int64_t n, int64_t step)
{
    o.rows = step;
    beam_loader *l = open_loader(o);
    int32_t *all = malloc((size_t)(n * SEQUENCE) * sizeof *all);
    assert_non_null(all);
    for (int64_t r = 0; r < n; r += step) {
        const beam_batch *b;
        assert_int_equal(beam_loader_read(l, from + r, -1, &b), BEAM_OK);
        memcpy(all + r * SEQUENCE, b->id, (size_t)(step * SEQUENCE) * sizeof *all);
    }
    beam_loader_close(l);
    return all;
}

static void the_order_depends_on_the_row_number_alone(void **state)
{
    (void)state;
    enum { N = 240 }; /* more than two epochs */
    const beam_loader_options o = options();
    int32_t *all = read_rows(o, 0, N, 1);
    for (int64_t step = 2; step <= 8; step *= 2) {
        int32_t *same = read_rows(o, 0, N, step), *later = read_rows(o, 5, N - 8, step);
        assert_memory_equal(all, same, N * SEQUENCE * sizeof *all);
        assert_memory_equal(all + 5 * SEQUENCE, later, (N - 8) * SEQUENCE * sizeof *all);
        free(same);
        free(later);
    }
    free(all);
}

static int64_t equal_rows(const int32_t *a, const int32_t *b, int64_t n)
{
    int64_t equal = 0;
    for (int64_t r = 0; r < n; r++)
        equal += memcmp(a + r * SEQUENCE, b + r * SEQUENCE, SEQUENCE * sizeof *a) == 0;
    return equal;
}

static void epochs_and_seeds_differ(void **state)
{
    (void)state;
    beam_loader_options o = options();
    beam_loader *l = open_loader(o);
    const int64_t rows = beam_loader_rows(l);
    beam_loader_close(l);
    assert_true(rows > 60);
    int32_t *first = read_rows(o, 0, rows, 1), *second = read_rows(o, rows, rows, 1);
    o.seed++;
    int32_t *other = read_rows(o, 0, rows, 1);
    o.shuffle = false;
    int32_t *plain = read_rows(o, 0, rows, 1), *plain_again = read_rows(o, rows, rows, 1);
    assert_true(equal_rows(first, second, rows) < rows / 4);
    assert_true(equal_rows(first, other, rows) < rows / 4);
    assert_true(equal_rows(first, plain, rows) < rows / 4);
    assert_int_equal(equal_rows(plain, plain_again, rows), rows);
    for (int64_t r = 1; r < rows; r++) /* in the order of the file */
        assert_true(plain[r * SEQUENCE] > plain[(r - 1) * SEQUENCE]);
    free(first);
    free(second);
    free(other);
    free(plain);
    free(plain_again);
}

static void rows_beyond_the_limit_are_padding(void **state)
{
    (void)state;
    beam_loader_options o = options();
    beam_loader *l = open_loader(o);
    const beam_batch *b;
    assert_int_equal(beam_loader_read(l, 4, 5, &b), BEAM_OK);
    for (int64_t i = SEQUENCE; i < b->tokens; i++)
        assert_true(b->id[i] == 0 && b->target[i] == -1 && !b->counted[i]);
    assert_true(b->counted_total > 0 && b->counted_total <= SEQUENCE);
    assert_int_equal(beam_loader_read(l, 5, 5, &b), BEAM_OK);
    assert_int_equal(b->counted_total, 0);
    assert_int_equal(b->targets, 0);
    assert_int_equal(b->sequences, 3);
    beam_loader_close(l);
}

static void counts_add_up_over_epochs(void **state)
{
    (void)state;
    beam_loader *l = open_loader(options());
    const int64_t rows = beam_loader_rows(l);
    int64_t targets, counted, sum_targets = 0, sum_counted = 0;
    for (int64_t r = 0; r < 2 * rows + 9; r++) {
        beam_loader_count(l, r, 1, &targets, &counted);
        sum_targets += targets;
        sum_counted += counted;
    }
    beam_loader_count(l, 0, 2 * rows + 9, &targets, &counted);
    assert_int_equal(targets, sum_targets);
    assert_int_equal(counted, sum_counted);
    beam_loader_count(l, rows, 2 * rows, &targets, &counted);
    assert_int_equal(counted, 2 * start[DOCUMENTS]);
    assert_int_equal(beam_loader_vocab(l), start[DOCUMENTS]);
    beam_loader_close(l);
}

static uint64_t hash_of(beam_loader_options o)
{
    beam_loader *l = open_loader(o);
    const uint64_t hash = beam_loader_hash(l);
    beam_loader_close(l);
    return hash;
}

static void the_hash_tells_orders_apart(void **state)
{
    (void)state;
    beam_loader_options o = options();
    const uint64_t hash = hash_of(o);
    o.rows = 1; /* the batch size does not change the order */
    assert_true(hash == hash_of(o));
    o.seed++;
    assert_true(hash != hash_of(o));
    o = options();
    o.sequence++;
    assert_true(hash != hash_of(o));
    o = options();
    o.packing = false;
    assert_true(hash != hash_of(o));
    o = options();
    o.shuffle = false;
    assert_true(hash != hash_of(o));
    write_tokens("other.h5", 2);
    o = options();
    o.path = scratch_path("other.h5");
    assert_true(hash != hash_of(o));
    write_tokens("t.h5", 1);
    assert_true(hash == hash_of(options()));
}

static void unusable_input_is_refused(void **state)
{
    (void)state;
    beam_loader_options o = options();
    beam_loader *l;
    int64_t begin[] = {0, 1, 2};
    int32_t two[] = {7, 8};
    uint8_t mask[] = {1, 1};
    beam_tokens t = {.vocab = 9, .start = begin};
    o.path = scratch_path("u.h5");
    assert_int_equal(beam_loader_open(&o, &l), BEAM_EIO);
    assert_int_equal(beam_tokens_write(o.path, &t), BEAM_OK);
    assert_int_equal(beam_loader_open(&o, &l), BEAM_EDATA);
    assert_true(message_has("holds no tokens"));
    t = (beam_tokens){.tokens = 2, .documents = 2, .vocab = 9, .id = two, .loss = mask, .start = begin};
    assert_int_equal(beam_tokens_write(o.path, &t), BEAM_OK);
    assert_int_equal(beam_loader_open(&o, &l), BEAM_EDATA);
    assert_true(message_has("is a target"));
    scratch_text("u.h5", "no token file");
    assert_int_equal(beam_loader_open(&o, &l), BEAM_EDATA);
    o = options();
    o.sequence = 0;
    assert_int_equal(beam_loader_open(&o, &l), BEAM_ECONFIG);
    o = options();
    o.rows = INT64_MAX;
    assert_int_equal(beam_loader_open(&o, &l), BEAM_ECONFIG);
}

static int set_up(void **state)
{
    if (scratch_open(state) != 0)
        return -1;
    write_tokens("t.h5", 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_is_complete),
        cmocka_unit_test(the_order_depends_on_the_row_number_alone),
        cmocka_unit_test(epochs_and_seeds_differ),
        cmocka_unit_test(rows_beyond_the_limit_are_padding),
        cmocka_unit_test(counts_add_up_over_epochs),
        cmocka_unit_test(the_hash_tells_orders_apart),
        cmocka_unit_test(unusable_input_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, scratch_close);
}
