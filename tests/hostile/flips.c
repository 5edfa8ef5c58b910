/* One bit of a file changes, or its end is missing: it is refused, or what is read is what was written.
 * HOSTILE_FLIPS=10000 tries so many bits of each kind of file; the test tries fewer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/rng.h"
#include "data/checkpoint.h"
#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/safetensors.h"
#include "data/scratch.h"
#include "data/sums.h"
#include "data/tokens.h"

enum { NUMBERS = 20000, DEFAULT_FLIPS = 500, CUT = 4096 };

static float weights[NUMBERS], back[NUMBERS];

/* One file, and how it is read. */
typedef struct {
    const char *name;
    /* Reads it. *same: what was read is what was written. */
    beam_status (*read)(bool *same);
} target;

static beam_checkpoint_state state_now(void)
{
    return (beam_checkpoint_state){.step = 3, .rows = 12, .penalty = 0.5, .model = "base"};
}

static beam_status read_checkpoint(bool *same)
{
    beam_checkpoint_state s, wanted = state_now();
    const beam_array array = {"value/w", beam_view(back, BEAM_F32, BEAM_DIMS(NUMBERS))};
    memset(&s, 0, sizeof s);
    memset(back, 0, sizeof back);
    BEAM_TRY(beam_checkpoint_read(scratch_path("run/checkpoint-000003"), &s, &array, 1));
    *same = memcmp(back, weights, sizeof back) == 0 && s.step == wanted.step && s.rows == wanted.rows &&
            s.penalty == wanted.penalty && strcmp(s.model, wanted.model) == 0;
    return BEAM_OK;
}

static beam_tokens tokens;

static beam_status read_tokens(bool *same)
{
    beam_tokens t;
    BEAM_TRY(beam_tokens_read(scratch_path("tokens.h5"), &t));
    *same = t.tokens == tokens.tokens && t.vocab == tokens.vocab && t.documents == tokens.documents &&
            memcmp(t.id, tokens.id, NUMBERS * sizeof *t.id) == 0 &&
            memcmp(t.loss, tokens.loss, NUMBERS) == 0 &&
            memcmp(t.start, tokens.start, (size_t)t.documents * sizeof *t.start) == 0 &&
            strcmp(t.tokenizer, tokens.tokenizer) == 0;
    beam_tokens_free(&t);
    return BEAM_OK;
}

/* As `beam inspect --verify` does: the file itself, then its hash. */
static beam_status read_export(bool *same)
{
    beam_weights *w;
    bool found = false;
    BEAM_TRY(beam_weights_open(scratch_path("export"), &w));
    const beam_weight *t = beam_weights_find(w, "w");
    beam_status s = t && t->bytes == sizeof back ? beam_weights_read_f32(w, t, back) : BEAM_EMODEL;
    beam_weights_close(w);
    if (s == BEAM_OK)
        s = beam_sums_verify(scratch_path("export"), &found);
    *same = found && memcmp(back, weights, sizeof back) == 0;
    return s;
}

static const target targets[] = {
    {"run/checkpoint-000003/state.h5", read_checkpoint},
    {"run/checkpoint-000003/manifest.json", read_checkpoint},
    {"run/checkpoint-000003/config.yaml", read_checkpoint},
    {"tokens.h5", read_tokens},
    {"export/model.safetensors", read_export},
    {"export/SHA256SUMS", read_export},
};

static struct {
    int64_t refused, same;
} count;

static void judge(const target *t, const char *how, size_t at)
{
    bool same = false;
    const beam_status s = t->read(&same);
    if (s == BEAM_OK && !same)
        print_message("%s: %s at %zu goes unnoticed\n", t->name, how, at);
    assert_true(s != BEAM_OK || same);
    count.refused += s != BEAM_OK;
    count.same += s == BEAM_OK;
}

static void flip(const target *t, char *bytes, size_t size, size_t bit)
{
    FILE *f = fopen(scratch_path(t->name), "r+b");
    assert_non_null(f);
    bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
    assert_int_equal(fseek(f, (long)(bit / 8), SEEK_SET), 0);
    assert_int_equal(fputc((unsigned char)bytes[bit / 8], f), (unsigned char)bytes[bit / 8]);
    assert_int_equal(fclose(f), 0);
    assert_true(bit / 8 < size);
}

static void flips_and_cuts(const target *t, int64_t flips)
{
    size_t size;
    bool same;
    char *bytes = scratch_read(scratch_path(t->name), &size);
    memset(&count, 0, sizeof count);
    assert_int_equal(t->read(&same), BEAM_OK);
    assert_true(same);
    for (int64_t i = 0; i < flips; i++) {
        const size_t bit = beam_random_bits(7, 0, (uint64_t)i) % (8 * size);
        flip(t, bytes, size, bit);
        judge(t, "bit", bit);
        flip(t, bytes, size, bit);
    }
    for (size_t n = 0; n < size; n += CUT) {
        scratch_write(t->name, bytes, n);
        judge(t, "cut", n);
    }
    scratch_write(t->name, bytes, size);
    assert_int_equal(t->read(&same), BEAM_OK);
    free(bytes);
    print_message("%-36s %7zu bytes: %lld refused, %lld read as written, 0 unnoticed\n", t->name, size,
                  (long long)count.refused, (long long)count.same);
}

static void damage_is_noticed(void **state)
{
    (void)state;
    const char *given = getenv("HOSTILE_FLIPS");
    const int64_t flips = given ? strtoll(given, NULL, 10) : DEFAULT_FLIPS;
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        flips_and_cuts(&targets[i], flips);
}

static beam_status fill_weights(void *context, int64_t item, void *bytes)
{
    (void)context, (void)item;
    memcpy(bytes, weights, sizeof weights);
    return BEAM_OK;
}

static int set_up(void **state)
{
    static int32_t id[NUMBERS];
    static uint8_t loss[NUMBERS];
    static int64_t start[3] = {0, NUMBERS / 2, NUMBERS};
    const beam_checkpoint_state now = state_now();
    const beam_array array = {"value/w", beam_view(weights, BEAM_F32, BEAM_DIMS(NUMBERS))};
    const beam_weight_source source = {
        .name = "w", .dtype = BEAM_F32, .ndim = 1, .dim = {NUMBERS}, .fill = fill_weights};
    for (uint64_t i = 0; i < NUMBERS; i++) {
        weights[i] = (float)beam_random_normal(1, 0, i);
        id[i] = (int32_t)(beam_random_bits(2, 0, i) % 259);
        loss[i] = (uint8_t)(beam_random_bits(3, 0, i) % 2);
    }
    tokens = (beam_tokens){.tokens = NUMBERS,
                           .documents = 2,
                           .vocab = 259,
                           .id = id,
                           .loss = loss,
                           .start = start,
                           .tokenizer = "byte"};
    if (scratch_open(state) != 0)
        return -1;
    beam_status s = beam_tokens_write(scratch_path("tokens.h5"), &tokens);
    s |= beam_checkpoint_write(scratch_path("run"), &now, &array, 1, "seed: 1\n");
    s |= beam_make_folder(scratch_path("export"));
    s |= beam_safetensors_write_folder(scratch_path("export"), &source, 1, 1 << 30);
    s |= beam_sums_write(scratch_path("export"));
    return s == BEAM_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(damage_is_noticed)};
    return cmocka_run_group_tests(tests, set_up, scratch_close);
}
