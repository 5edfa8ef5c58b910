/* HDF5 files made to harm, with a correct seal: each is refused before HDF5 follows it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "data/cmocka_all.h"
#include "data/hdf5_attacks.h"
#include "data/hdf5_private.h"
#include "data/scratch.h"

static const int32_t *content;

/* What reading the ids of such a file comes to. */
static beam_status read_ids(const unsigned char *bytes, size_t size, int32_t out[HDF5_IDS])
{
    beam_h5 *f;
    beam_status s = beam_h5_open(bytes, size, "hostile.h5", BEAM_EDATA, &f);
    if (s == BEAM_OK)
        s = beam_h5_get(f, "ids", beam_view(out, BEAM_I32, BEAM_DIMS(HDF5_IDS)));
    if (s == BEAM_OK || f)
        beam_h5_close(f);
    return s;
}

static void expect(const hdf5_attack *a)
{
    size_t size;
    static int32_t out[HDF5_IDS];
    unsigned char *bytes = hdf5_attack_make(a->fill, &size);
    const beam_status s = read_ids(bytes, size, out);
    free(bytes);
    if (!a->message) {
        assert_int_equal(s, BEAM_OK);
        assert_memory_equal(out, content, sizeof out);
    } else {
        assert_int_equal(s, BEAM_EDATA);
        assert_true(message_has(a->message));
    }
}

static void hostile_files_are_refused(void **state)
{
    (void)state;
    for (const hdf5_attack *a = hdf5_attacks; a->name; a++)
        expect(a);
}

/* The seal aside, the checksums of the chunks notice damage themselves. */
static void damaged_chunks_are_refused(void **state)
{
    (void)state;
    size_t size;
    static int32_t out[HDF5_IDS];
    unsigned char *bytes = hdf5_attack_make(hdf5_attacks[0].fill, &size);
    const size_t end = size - 4096, begin = size / 2; /* well inside the chunks, which end the file */
    int refused = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        const size_t at = begin + beam_random_bits(3, 0, i) % (end - begin);
        const unsigned char flip = (unsigned char)(1u << i % 8);
        bytes[at] ^= flip;
        beam_h5_write_seal(bytes, size, bytes);
        if (read_ids(bytes, size, out) == BEAM_OK)
            assert_memory_equal(out, content, sizeof out);
        else
            refused++;
        bytes[at] ^= flip;
    }
    assert_true(refused > 900);
    free(bytes);
}

static void bytes_that_are_not_hdf5_are_refused(void **state)
{
    (void)state;
    static int32_t out[HDF5_IDS];
    unsigned char bytes[4096];
    for (uint64_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)beam_random_bits(5, 0, i);
    assert_int_equal(read_ids(bytes, sizeof bytes, out), BEAM_EDATA);
    beam_h5_write_seal(bytes, sizeof bytes, bytes);
    assert_int_equal(read_ids(bytes, sizeof bytes, out), BEAM_EDATA);
    assert_int_equal(read_ids(bytes, 0, out), BEAM_EDATA);
}

static int set_up(void **state)
{
    if (scratch_open(state) != 0)
        return -1;
    content = hdf5_attacks_prepare();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_files_are_refused),
        cmocka_unit_test(damaged_chunks_are_refused),
        cmocka_unit_test(bytes_that_are_not_hdf5_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, scratch_close);
}
