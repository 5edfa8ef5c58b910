/* Token files: what is written comes back; what cannot be trained on is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "data/cmocka_all.h"
#include "data/hdf5_image.h"
#include "data/scratch.h"
#include "data/tokens.h"

enum { TOKENS = 1000, DOCUMENTS = 4, VOCAB = 300 };

static int32_t id[TOKENS];
static uint8_t loss[TOKENS];
static int64_t start[DOCUMENTS + 1] = {0, 1, 400, 999, TOKENS};

/* Fresh, valid content. */
static beam_tokens content(void)
{
    for (uint64_t i = 0; i < TOKENS; i++) {
        id[i] = (int32_t)(beam_random_bits(1, 0, i) % VOCAB);
        loss[i] = beam_random_bits(1, 1, i) % 2;
    }
    memcpy(start, (const int64_t[]){0, 1, 400, 999, TOKENS}, sizeof start);
    return (beam_tokens){.tokens = TOKENS,
                         .documents = DOCUMENTS,
                         .vocab = VOCAB,
                         .id = id,
                         .loss = loss,
                         .start = start,
                         .tokenizer = "byte"};
}

static uint64_t hash_of(const beam_tokens *t)
{
    beam_tokens back;
    assert_int_equal(beam_tokens_write(scratch_path("h.h5"), t), BEAM_OK);
    assert_int_equal(beam_tokens_read(scratch_path("h.h5"), &back), BEAM_OK);
    const uint64_t hash = back.hash;
    beam_tokens_free(&back);
    return hash;
}

static void round_trip(void **state)
{
    (void)state;
    beam_tokens t = content(), back;
    memset(t.tokenizer, 'n', sizeof t.tokenizer - 1); /* the longest name */
    assert_int_equal(beam_tokens_write(scratch_path("t.h5"), &t), BEAM_OK);
    assert_int_equal(beam_tokens_read(scratch_path("t.h5"), &back), BEAM_OK);
    assert_int_equal(back.tokens, TOKENS);
    assert_int_equal(back.documents, DOCUMENTS);
    assert_int_equal(back.vocab, VOCAB);
    assert_string_equal(back.tokenizer, t.tokenizer);
    assert_memory_equal(back.id, id, sizeof id);
    assert_memory_equal(back.loss, loss, sizeof loss);
    assert_memory_equal(back.start, start, sizeof start);
    beam_tokens_free(&back);
}

static void no_tokens_at_all(void **state)
{
    (void)state;
    int64_t zero = 0;
    const beam_tokens t = {.vocab = 1, .start = &zero};
    beam_tokens back;
    assert_int_equal(beam_tokens_write(scratch_path("t.h5"), &t), BEAM_OK);
    assert_int_equal(beam_tokens_read(scratch_path("t.h5"), &back), BEAM_OK);
    assert_int_equal(back.tokens, 0);
    assert_int_equal(back.start[0], 0);
    beam_tokens_free(&back);
}

static void equal_content_gives_equal_bytes(void **state)
{
    (void)state;
    const beam_tokens t = content();
    size_t size, other_size;
    char *bytes, *other;
    assert_int_equal(beam_tokens_write(scratch_path("a.h5"), &t), BEAM_OK);
    assert_int_equal(beam_tokens_write(scratch_path("b.h5"), &t), BEAM_OK);
    bytes = scratch_read(scratch_path("a.h5"), &size);
    other = scratch_read(scratch_path("b.h5"), &other_size);
    assert_int_equal(size, other_size);
    assert_memory_equal(bytes, other, size);
    free(bytes);
    free(other);
}

static void the_hash_tells_contents_apart(void **state)
{
    (void)state;
    beam_tokens t = content();
    const uint64_t hash = hash_of(&t);
    assert_true(hash == hash_of(&t));
    id[500] ^= 1;
    assert_true(hash != hash_of(&t));
    id[500] ^= 1;
    loss[3] ^= 1;
    assert_true(hash != hash_of(&t));
    loss[3] ^= 1;
    start[2]++;
    assert_true(hash != hash_of(&t));
    start[2]--;
    t.vocab++;
    assert_true(hash != hash_of(&t));
    t.vocab--;
    t.tokenizer[0] = 'x';
    assert_true(hash != hash_of(&t));
    t.tokenizer[0] = 'b';
    assert_true(hash == hash_of(&t));
}

/* Stores arrays as a token file without the checks of beam_tokens_write. */
static beam_status read_forged(const beam_tokens *t, int64_t format, int64_t losses, const char *hash)
{
    beam_h5 *f;
    void *image;
    size_t size;
    assert_int_equal(beam_h5_create(&f), BEAM_OK);
    assert_int_equal(beam_h5_put_i64(f, "format", format), BEAM_OK);
    assert_int_equal(beam_h5_put_i64(f, "vocab_size", t->vocab), BEAM_OK);
    assert_int_equal(beam_h5_put_text(f, "tokenizer", t->tokenizer), BEAM_OK);
    assert_int_equal(beam_h5_put_text(f, "content", hash), BEAM_OK);
    assert_int_equal(beam_h5_put(f, "ids", beam_view(t->id, BEAM_I32, BEAM_DIMS(t->tokens))), BEAM_OK);
    assert_int_equal(beam_h5_put(f, "loss", beam_view(t->loss, BEAM_U8, BEAM_DIMS(losses))), BEAM_OK);
    assert_int_equal(beam_h5_put(f, "start", beam_view(t->start, BEAM_I64, BEAM_DIMS(t->documents))),
                     BEAM_OK);
    assert_int_equal(beam_h5_finish(f, &image, &size), BEAM_OK);
    const char *path = scratch_write("forged.h5", image, size);
    free(image);
    beam_tokens back;
    const beam_status s = beam_tokens_read(path, &back);
    if (s == BEAM_OK)
        beam_tokens_free(&back);
    return s;
}

static void expect_refused(const beam_tokens *t, const char *message)
{
    assert_int_equal(beam_tokens_write(scratch_path("t.h5"), t), BEAM_EDATA);
    assert_true(message_has(message));
    assert_int_equal(read_forged(t, 1, t->tokens, "0"), BEAM_EDATA);
    assert_true(message_has(message));
}

static void wrong_content_is_refused(void **state)
{
    (void)state;
    beam_tokens t = content();
    id[7] = VOCAB;
    expect_refused(&t, "token 7 has id 300");
    t = content();
    id[999] = -1;
    expect_refused(&t, "token 999 has id -1");
    t = content();
    loss[999] = 2;
    expect_refused(&t, "loss mask of token 999");
    t = content();
    start[0] = 1;
    expect_refused(&t, "do not cover");
    t = content();
    start[2] = start[1];
    expect_refused(&t, "document 1 is empty");
    t = content();
    start[3] = 1001;
    expect_refused(&t, "document 3 is empty");
    t = content();
    start[1] = -5;
    expect_refused(&t, "document 0 is empty");
    t = content();
    t.vocab = 0;
    expect_refused(&t, "vocabulary");
    t = content();
    assert_int_equal(read_forged(&t, 2, TOKENS, "0"), BEAM_EDATA);
    assert_true(message_has("format 2"));
    assert_int_equal(read_forged(&t, 1, TOKENS - 1, "0"), BEAM_EDATA);
    assert_true(message_has("loss mask of 999"));
    assert_int_equal(read_forged(&t, 1, TOKENS, "0"), BEAM_EDATA);
    assert_true(message_has("SHA-256"));
    t.documents = 0;
    assert_int_equal(read_forged(&t, 1, TOKENS, "0"), BEAM_EDATA);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    beam_tokens back;
    beam_h5 *f;
    void *image;
    size_t size;
    assert_int_equal(beam_tokens_read(scratch_path("none.h5"), &back), BEAM_EIO);
    assert_int_equal(beam_tokens_read(scratch_text("x.h5", ""), &back), BEAM_EDATA);
    assert_int_equal(beam_tokens_read(scratch_text("x.h5", "{\"text\": \"hello\"}\n"), &back), BEAM_EDATA);
    assert_int_equal(beam_h5_create(&f), BEAM_OK);
    assert_int_equal(beam_h5_finish(f, &image, &size), BEAM_OK);
    assert_int_equal(beam_tokens_read(scratch_write("x.h5", image, size), &back), BEAM_EDATA);
    assert_true(message_has("format is missing"));
    free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(no_tokens_at_all),
        cmocka_unit_test(equal_content_gives_equal_bytes),
        cmocka_unit_test(the_hash_tells_contents_apart),
        cmocka_unit_test(wrong_content_is_refused),
        cmocka_unit_test(other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
