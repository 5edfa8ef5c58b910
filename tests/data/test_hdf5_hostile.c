/* HDF5 files made to harm, with a correct seal: each is refused before HDF5 follows it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "core/rng.h"
#include "data/cmocka_all.h"
#include "data/hdf5_private.h"
#include "data/scratch.h"
#include "data/zstd_filter.h"

enum { ROWS = 64, COLUMNS = 512 }; /* of the array "x" in most files: one chunk of 128 KiB */

static float content[ROWS][COLUMNS];

/* Makes a sealed file of what `fill` puts into it, and returns its bytes. */
static unsigned char *make(void (*fill)(hid_t file), size_t *size)
{
    const char *path = scratch_path("x.h5");
    const hid_t create = H5Pcreate(H5P_FILE_CREATE), access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_userblock(create, BEAM_H5_SEAL);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, create, access);
    assert_true(file >= 0);
    fill(file);
    H5Pclose(access);
    H5Pclose(create);
    assert_true(H5Fclose(file) >= 0);
    unsigned char *bytes = (unsigned char *)scratch_read(path, size);
    beam_h5_write_seal(bytes, *size, bytes);
    return bytes;
}

/* What reading array x of such a file comes to. */
static beam_status read_x(const unsigned char *bytes, size_t size, float out[ROWS][COLUMNS])
{
    beam_h5 *f;
    beam_status s = beam_h5_open(bytes, size, "hostile.h5", BEAM_EDATA, &f);
    if (s == BEAM_OK)
        s = beam_h5_get(f, "x", beam_view(out, BEAM_F32, BEAM_DIMS(ROWS, COLUMNS)));
    if (s == BEAM_OK || f)
        beam_h5_close(f);
    return s;
}

static void expect(void (*fill)(hid_t file), const char *message)
{
    size_t size;
    static float out[ROWS][COLUMNS];
    unsigned char *bytes = make(fill, &size);
    const beam_status s = read_x(bytes, size, out);
    free(bytes);
    if (!message) {
        assert_int_equal(s, BEAM_OK);
        assert_memory_equal(out, content, sizeof out);
    } else {
        assert_int_equal(s, BEAM_EDATA);
        assert_true(message_has(message));
    }
}

/* Creates x with the layout of `create`, of an element type; NULL data: leaves it unwritten. */
static hid_t put_x(hid_t file, hid_t create, hid_t type, const void *data)
{
    const hid_t space = H5Screate_simple(2, (const hsize_t[]){ROWS, COLUMNS}, NULL);
    const hid_t set = H5Dcreate2(file, "x", type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    assert_true(set >= 0);
    if (data)
        assert_true(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Sclose(space);
    return set;
}

static hid_t chunked(hsize_t rows)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(create, 2, (const hsize_t[]){rows, COLUMNS});
    return create;
}

static void add_zstd(hid_t create)
{
    const unsigned level = 3;
    assert_true(H5Pset_filter(create, BEAM_ZSTD_FILTER, H5Z_FLAG_MANDATORY, 1, &level) >= 0);
}

static void finish(hid_t set, hid_t create)
{
    H5Dclose(set);
    H5Pclose(create);
}

static void good(hid_t file)
{
    const hid_t create = chunked(ROWS / 2);
    H5Pset_shuffle(create);
    add_zstd(create);
    H5Pset_fletcher32(create);
    finish(put_x(file, create, H5T_IEEE_F32LE, content), create);
}

static void only_zstd(hid_t file)
{
    const hid_t create = chunked(ROWS);
    add_zstd(create);
    finish(put_x(file, create, H5T_IEEE_F32LE, content), create);
}

/* Stores `bytes` as the only chunk of x. */
static void store_chunk(hid_t file, unsigned skipped, const void *bytes, size_t n, bool fletcher)
{
    const hid_t create = chunked(ROWS);
    add_zstd(create);
    if (fletcher)
        H5Pset_fletcher32(create);
    const hid_t set = put_x(file, create, H5T_IEEE_F32LE, NULL);
    assert_true(H5Dwrite_chunk(set, H5P_DEFAULT, skipped, (const hsize_t[]){0, 0}, n, bytes) >= 0);
    finish(set, create);
}

static void short_chunk(hid_t file)
{
    char frame[256];
    store_chunk(file, 0, frame, ZSTD_compress(frame, sizeof frame, "AAAAAAAAAAAAAAA", 16, 3), false);
}

static void long_chunk(hid_t file)
{
    char *zeros = calloc(1, (size_t)1 << 26), *frame = malloc((size_t)1 << 20);
    const size_t n = ZSTD_compress(frame, (size_t)1 << 20, zeros, (size_t)1 << 26, 3);
    assert_false(ZSTD_isError(n));
    store_chunk(file, 0, frame, n, false);
    free(zeros);
    free(frame);
}

static void no_frame(hid_t file)
{
    store_chunk(file, 0, content, 4096, false);
}

static void skipped_filter(hid_t file)
{
    store_chunk(file, 1, content, 16, false);
}

static void tiny_chunk_under_fletcher(hid_t file)
{
    store_chunk(file, 0, content, 2, true);
}

static void missing_chunk(hid_t file)
{
    const hid_t create = chunked(ROWS);
    add_zstd(create);
    finish(put_x(file, create, H5T_IEEE_F32LE, NULL), create);
}

static void fletcher_first(hid_t file)
{
    const hid_t create = chunked(ROWS);
    H5Pset_fletcher32(create);
    add_zstd(create);
    finish(put_x(file, create, H5T_IEEE_F32LE, content), create);
}

static void no_filter(hid_t file)
{
    const hid_t create = chunked(ROWS);
    finish(put_x(file, create, H5T_IEEE_F32LE, content), create);
}

static void other_filter(hid_t file)
{
    const hid_t create = chunked(ROWS);
    add_zstd(create);
    H5Pset_scaleoffset(create, H5Z_SO_FLOAT_DSCALE, 2);
    finish(put_x(file, create, H5T_IEEE_F32LE, content), create);
}

static void contiguous(hid_t file)
{
    H5Dclose(put_x(file, H5P_DEFAULT, H5T_IEEE_F32LE, content));
}

static void external_storage(hid_t file)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(create, "/etc/passwd", 0, sizeof content);
    finish(put_x(file, create, H5T_IEEE_F32LE, NULL), create);
}

static void virtual_set(hid_t file)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    const hid_t space = H5Screate_simple(2, (const hsize_t[]){ROWS, COLUMNS}, NULL);
    H5Pset_virtual(create, space, "/etc/passwd", "x", space);
    H5Sclose(space);
    finish(put_x(file, create, H5T_IEEE_F32LE, NULL), create);
}

static void soft_link(hid_t file)
{
    good(file);
    H5Lcreate_soft("/x", file, "y", H5P_DEFAULT, H5P_DEFAULT);
}

static void external_link(hid_t file)
{
    H5Lcreate_external("/etc/passwd", "x", file, "x", H5P_DEFAULT, H5P_DEFAULT);
}

static void group_in_itself(hid_t file)
{
    good(file);
    H5Lcreate_hard(file, "/", file, "self", H5P_DEFAULT, H5P_DEFAULT);
}

static void deep_groups(hid_t file)
{
    char name[512] = "";
    for (int i = 0; i < 200; i++)
        strcat(name, "/g");
    const hid_t link = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(link, 1);
    H5Gclose(H5Gcreate2(file, name, link, H5P_DEFAULT, H5P_DEFAULT));
    H5Pclose(link);
}

static void strings(hid_t file)
{
    const hid_t type = H5Tcopy(H5T_C_S1), create = chunked(ROWS);
    H5Tset_size(type, H5T_VARIABLE);
    finish(put_x(file, create, type, NULL), create);
    H5Tclose(type);
}

static void big_endian(hid_t file)
{
    const hid_t create = chunked(ROWS);
    add_zstd(create);
    finish(put_x(file, create, H5T_IEEE_F32BE, NULL), create);
}

static void named_type(hid_t file)
{
    const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tcommit2(file, "x", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Tclose(type);
}

static void huge(hid_t file, hsize_t rows, hsize_t chunk)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(create, 1, &chunk);
    add_zstd(create);
    const hid_t space = H5Screate_simple(1, &rows, NULL);
    const hid_t set = H5Dcreate2(file, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
    assert_true(set >= 0);
    H5Sclose(space);
    finish(set, create);
}

static void huge_chunk(hid_t file)
{
    huge(file, (hsize_t)1 << 40, (hsize_t)1 << 28);
}

static void huge_array(hid_t file)
{
    huge(file, (hsize_t)1 << 61, (hsize_t)1 << 20);
}

static void many_chunks(hid_t file)
{
    huge(file, (hsize_t)1 << 40, 1);
}

static void hostile_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        void (*fill)(hid_t);
        const char *message;
    } cases[] = {
        {good, NULL},
        {only_zstd, NULL},
        {short_chunk, "data is damaged"},
        {long_chunk, "data is damaged"},
        {no_frame, "data is damaged"},
        {skipped_filter, "a chunk of it is damaged"},
        {tiny_chunk_under_fletcher, "a chunk of it is damaged"},
        {missing_chunk, "chunks are missing"},
        {fletcher_first, "its filters are not"},
        {no_filter, "its filters are not"},
        {other_filter, "its filters are not"},
        {contiguous, "neither chunked nor compact"},
        {external_storage, "neither chunked nor compact"},
        {virtual_set, "neither chunked nor compact"},
        {soft_link, "y: it is a link"},
        {external_link, "x: it is a link"},
        {group_in_itself, NULL},
        {deep_groups, "name is too long"},
        {strings, "its type is not"},
        {big_endian, "its type is not"},
        {named_type, "cannot be opened as an array"},
        {huge_chunk, "larger than 64 MiB"},
        {huge_array, "it is too large"},
        {many_chunks, "too many chunks"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect(cases[i].fill, cases[i].message);
}

/* The seal aside, the checksums of the chunks notice damage themselves. */
static void damaged_chunks_are_refused(void **state)
{
    (void)state;
    size_t size;
    static float out[ROWS][COLUMNS];
    unsigned char *bytes = make(good, &size);
    const size_t end = size - 4096, begin = size / 2; /* well inside the chunks, which end the file */
    int refused = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        const size_t at = begin + beam_random_bits(3, 0, i) % (end - begin);
        const unsigned char flip = (unsigned char)(1u << i % 8);
        bytes[at] ^= flip;
        beam_h5_write_seal(bytes, size, bytes);
        if (read_x(bytes, size, out) == BEAM_OK)
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
    static float out[ROWS][COLUMNS];
    unsigned char bytes[4096];
    for (uint64_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)beam_random_bits(5, 0, i);
    assert_int_equal(read_x(bytes, sizeof bytes, out), BEAM_EDATA);
    beam_h5_write_seal(bytes, sizeof bytes, bytes);
    assert_int_equal(read_x(bytes, sizeof bytes, out), BEAM_EDATA);
    assert_int_equal(read_x(bytes, 0, out), BEAM_EDATA);
}

static int set_up(void **state)
{
    for (uint64_t i = 0; i < ROWS * COLUMNS; i++)
        content[i / COLUMNS][i % COLUMNS] = (float)beam_random_normal(1, 0, i);
    return beam_zstd_register() == BEAM_OK ? scratch_open(state) : -1;
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
