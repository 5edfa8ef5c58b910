/* Token files: HDF5 that would harm, and arrays that contradict one another. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/hdf5_attacks.h"
#include "data/hdf5_image.h"
#include "data/scratch.h"
#include "hostile/refused.h"

enum { DATA = 3, TOKENS = 8 };

static void images(void **state)
{
    (void)state;
    char file[64];
    for (const hdf5_attack *a = hdf5_attacks; a->name; a++) {
        size_t size;
        unsigned char *bytes = hdf5_attack_make(a->fill, &size);
        snprintf(file, sizeof file, "%s.h5", a->name);
        const char *path = scratch_write(file, bytes, size);
        free(bytes);
        expect_exit(DATA, file, a->message ? a->message : "does not match its SHA-256", "inspect", path,
                    NULL);
    }
}

/* HDF5 loads any library of this folder when it meets a filter that it does not know. */
static void plugins(void **state)
{
    (void)state;
    int status = 0;
    set_environment("HDF5_PLUGIN_PATH", HOSTILE_PLUGINS);
    const pid_t child = fork();
    if (child == 0) {
        H5PLset_loading_state(H5PL_ALL_PLUGIN);
        H5PLprepend(HOSTILE_PLUGINS);
        H5Zfilter_avail(HDF5_UNKNOWN_FILTER);
        _exit(0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_int_equal(WEXITSTATUS(status), 99); /* the trap works */
    images(state);
}

static void damage(void **state)
{
    (void)state;
    size_t size;
    unsigned char *bytes = hdf5_attack_make(hdf5_attacks[0].fill, &size);
    expect_exit(DATA, "cut.h5", "its checksum is wrong", "inspect", scratch_write("cut.h5", bytes, size - 1),
                NULL);
    expect_exit(DATA, "seal.h5", "its checksum is wrong", "inspect", scratch_write("seal.h5", bytes, 512),
                NULL);
    expect_exit(DATA, "none.h5", "its checksum is wrong", "inspect", scratch_write("none.h5", bytes, 0),
                NULL);
    for (size_t i = 0; i < 8; i++) {
        bytes[i * size / 8] ^= 1;
        expect_exit(DATA, "flip.h5", "its checksum is wrong", "inspect",
                    scratch_write("flip.h5", bytes, size), NULL);
        bytes[i * size / 8] ^= 1;
    }
    free(bytes);
    expect_exit(DATA, "text.h5", "its checksum is wrong", "inspect", scratch_text("text.h5", "not HDF5"),
                NULL);
    expect_exit(70, "sparse.h5", "no memory for its", "inspect", write_sparse("sparse.h5", (uint64_t)1 << 37),
                NULL);
    expect_exit(5, "larger.h5", "are accepted here", "inspect", write_sparse("larger.h5", (uint64_t)1 << 39),
                NULL);
}

/* The numbers that a token file of eight tokens in two documents is made of, and one that is wrong. */
enum {
    FORMAT,
    VOCAB,
    ID,
    LOSS,
    START_0,
    START_1,
    LOSSES,
    DOCUMENTS,
    START_TYPE,
    IDS_NDIM,
    NAME,
    LEFT_OUT,
    FIELDS
};
enum { NOTHING, NO_FORMAT, NO_TOKENIZER, NO_IDS }; /* of LEFT_OUT */

static const int64_t good[FIELDS] = {
    [FORMAT] = 1,    [VOCAB] = 259,           [ID] = 8,       [LOSS] = 1, [START_1] = 4, [LOSSES] = TOKENS,
    [DOCUMENTS] = 2, [START_TYPE] = BEAM_I64, [IDS_NDIM] = 1, [NAME] = 63};

static void write_tokens(const char *path, int field, int64_t value)
{
    static const char name[] = "0123456789012345678901234567890123456789012345678901234567890123456789";
    int64_t x[FIELDS];
    memcpy(x, good, sizeof x);
    x[field] = value;
    int32_t id[TOKENS] = {1, 2, 3, 4, 5, 6, 7, (int32_t)x[ID]};
    uint8_t loss[TOKENS] = {1, 1, 1, 1, 1, 1, 1, (uint8_t)x[LOSS]};
    int64_t start[TOKENS + 1] = {x[START_0], x[START_1], 6, 7};
    beam_h5 *f;
    void *image;
    size_t size;
    beam_status s = beam_h5_create(&f);
    assert_int_equal(s, BEAM_OK);
    if (x[LEFT_OUT] != NO_FORMAT)
        s |= beam_h5_put_i64(f, "format", x[FORMAT]);
    s |= beam_h5_put_i64(f, "vocab_size", x[VOCAB]);
    if (x[LEFT_OUT] != NO_TOKENIZER)
        s |= beam_h5_put_text(f, "tokenizer", name + sizeof name - 1 - x[NAME]);
    s |= beam_h5_put_text(f, "content", "0");
    if (x[LEFT_OUT] != NO_IDS)
        s |= beam_h5_put(f, "ids", beam_view(id, BEAM_I32, (int)x[IDS_NDIM], (const int64_t[]){TOKENS, 1}));
    s |= beam_h5_put(f, "loss", beam_view(loss, BEAM_U8, BEAM_DIMS(x[LOSSES])));
    s |= beam_h5_put(f, "start", beam_view(start, (beam_dtype)x[START_TYPE], BEAM_DIMS(x[DOCUMENTS])));
    assert_int_equal(s | beam_h5_finish(f, &image, &size), BEAM_OK);
    assert_int_equal(beam_file_write(path, image, size), BEAM_OK);
    free(image);
}

static void arrays(void **state)
{
    (void)state;
    static const struct {
        int field;
        int64_t value;
        const char *message;
    } cases[] = {
        {LEFT_OUT, NOTHING, "does not match its SHA-256"}, /* its hash is wrong, all else is not */
        {LEFT_OUT, NO_FORMAT, "attribute format is missing"},
        {LEFT_OUT, NO_TOKENIZER, "attribute tokenizer is missing"},
        {LEFT_OUT, NO_IDS, "array ids is missing"},
        {FORMAT, 2, "format 2"},
        {VOCAB, 0, "vocabulary of 0 tokens"},
        {VOCAB, INT64_MAX, "vocabulary of"},
        {ID, 259, "token 7 has id 259"},
        {ID, -1, "token 7 has id -1"},
        {LOSS, 2, "loss mask of token 7 is 2"},
        {LOSSES, 7, "a loss mask of 7"},
        {START_0, 1, "do not cover"},
        {START_1, INT64_MAX, "document 1 is empty or starts after"},
        {START_1, INT64_MIN, "document 0 is empty or starts after"},
        {DOCUMENTS, TOKENS + 1, "9 documents but only 8 tokens"},
        {DOCUMENTS, 0, "do not cover"},
        {START_TYPE, BEAM_F64, "array start is not a list of i64"},
        {IDS_NDIM, 2, "array ids is not a list of i32"},
        {NAME, 64, "a text of at most 63 bytes"},
    };
    char file[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(file, sizeof file, "arrays-%zu.h5", i);
        write_tokens(scratch_path(file), cases[i].field, cases[i].value);
        expect_exit(DATA, file, cases[i].message, "inspect", scratch_path(file), NULL);
    }
}

static int set_up(void **state)
{
    if (scratch_open(state) != 0)
        return -1;
    hdf5_attacks_prepare();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images),
        cmocka_unit_test(damage),
        cmocka_unit_test(arrays),
        cmocka_unit_test(plugins),
    };
    const int failed = cmocka_run_group_tests(tests, set_up, scratch_close);
    print_worst();
    return failed;
}
