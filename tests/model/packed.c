/* Documents packed into shared rows train exactly as documents in rows of their own: the same loss at every
 * token, the same gradients, the same statistics. In double, through the loader that training uses. */
#include <math.h>
#include <stdlib.h>

#include "core/rng.h"
#include "data/cmocka_all.h"
#include "data/loader.h"
#include "data/pack.h"
#include "data/scratch.h"
#include "data/tokens.h"
#include "model/tiny_model.h"
#include "support/values.h"

enum { DOCUMENTS = 14, SEQUENCE = 12, MOST = 400 };

static const double penalty = 0.7, tolerance = 1e-12;

static int32_t id[MOST];
static uint8_t loss[MOST];
static int64_t start[DOCUMENTS + 1];

/* Short and long documents, some tokens masked out. */
static void write_tokens(const char *path)
{
    for (int d = 0; d < DOCUMENTS; d++)
        start[d + 1] = start[d] + 1 + (int64_t)(beam_random_bits(3, 0, (uint64_t)d) % (d % 5 == 4 ? 25 : 7));
    for (int64_t i = 0; i < start[DOCUMENTS]; i++) {
        id[i] = (int32_t)(beam_random_bits(3, 1, (uint64_t)i) % TINY_VOCAB);
        loss[i] = beam_random_uniform(3, 2, (uint64_t)i) < 0.6;
    }
    const beam_tokens t = {.tokens = start[DOCUMENTS],
                           .documents = DOCUMENTS,
                           .vocab = TINY_VOCAB,
                           .id = id,
                           .loss = loss,
                           .start = start};
    assert_int_equal(beam_tokens_write(path, &t), BEAM_OK);
}

/* One pass over all documents. */
typedef struct {
    beam_backend be;
    beam_model *model;
    int64_t rows, targets;
    double loss[MOST], sum; /* of each token of the file: of predicting the one after it */
} pass;

/* Moves the losses of the batch's places to the tokens that stand there. */
static void spread(const beam_packing *p, const double *losses, double *out)
{
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t at = r * SEQUENCE;
        for (int64_t k = p->first[r]; k < p->first[r + 1]; k++)
            for (int32_t i = 0; i < p->piece[k].length; i++)
                out[p->piece[k].start + i] = losses[at++];
    }
}

static void run(bool packing, pass *p)
{
    const beam_packing_options packed = {.sequence = SEQUENCE, .together = packing};
    beam_packing packs;
    beam_loader *loader;
    const beam_batch *b;
    beam_forward_result result;
    assert_int_equal(beam_pack(start, DOCUMENTS, &packed, &packs), BEAM_OK);
    const beam_loader_options o = {
        .path = scratch_path("t.h5"), .sequence = SEQUENCE, .rows = packs.rows, .packing = packing};
    assert_int_equal(beam_loader_open(&o, &loader), BEAM_OK);
    assert_int_equal(beam_loader_read(loader, 0, -1, &b), BEAM_OK);
    assert_int_equal(beam_backend_cpu(&p->be, 1), BEAM_OK);
    const beam_model_config c = tiny_config(true, false, false);
    const beam_model_options options = {.scope = BEAM_SCOPE_ALL, .max_tokens = b->tokens};
    assert_int_equal(beam_model_open(&p->model, &c, &options, &p->be), BEAM_OK);
    tiny_fill(p->model, 0.5);
    tiny_gradients(p->model, b, penalty, 0);
    assert_int_equal(beam_model_result(p->model, &result), BEAM_OK);
    double *losses = calloc((size_t)b->tokens, sizeof *losses);
    assert_non_null(losses);
    assert_int_equal(beam_model_token_losses(p->model, losses), BEAM_OK);
    spread(&packs, losses, p->loss);
    p->rows = packs.rows;
    p->targets = b->targets;
    p->sum = result.loss;
    free(losses);
    beam_loader_close(loader);
    beam_packing_free(&packs);
}

static void close_pass(pass *p)
{
    beam_model_close(p->model);
    beam_backend_close(&p->be);
}

/* The largest difference of two gradients over the largest element. */
static double distance(beam_tensor a, beam_tensor b)
{
    double most = 0, largest = 0;
    for (int64_t i = 0; i < beam_count(a); i++) {
        most = fmax(most, fabs(test_get(a, i) - test_get(b, i)));
        largest = fmax(largest, fabs(test_get(a, i)));
    }
    return largest > 0 ? most / largest : most;
}

static void packed_is_unpacked(void **state)
{
    (void)state;
    static pass together, apart;
    write_tokens(scratch_path("t.h5"));
    run(true, &together);
    run(false, &apart);
    assert_true(together.rows < apart.rows && apart.targets > 20);
    assert_int_equal(together.targets, apart.targets);
    assert_true(fabs(together.sum - apart.sum) <= tolerance * apart.sum);
    for (int64_t i = 0; i < start[DOCUMENTS]; i++)
        if (!(fabs(together.loss[i] - apart.loss[i]) <= tolerance))
            fail_msg("token %lld: loss %.15g packed, %.15g alone", (long long)i, together.loss[i],
                     apart.loss[i]);
    const beam_params a = beam_model_params(together.model), b = beam_model_params(apart.model);
    for (int i = 0; i < a.n; i++)
        if (!(distance(a.at[i].grad, b.at[i].grad) <= tolerance))
            fail_msg("%s: gradients differ by %g of the largest", a.at[i].name,
                     distance(a.at[i].grad, b.at[i].grad));
    close_pass(&together);
    close_pass(&apart);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(packed_is_unpacked)};
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
