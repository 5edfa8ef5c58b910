#include "data/hdf5_attacks.h"

#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "core/rng.h"
#include "data/cmocka_all.h"
#include "data/hdf5_private.h"
#include "data/scratch.h"
#include "data/zstd_filter.h"

static int32_t hdf5_ids[HDF5_IDS];

const int32_t *hdf5_attacks_prepare(void)
{
    for (uint64_t i = 0; i < HDF5_IDS; i++)
        hdf5_ids[i] = (int32_t)(beam_random_bits(1, 0, i) % 259);
    assert_int_equal(beam_zstd_register(), BEAM_OK);
    return hdf5_ids;
}

/* Creates the ids with the layout of `create`, of an element type; NULL data: leaves them unwritten. */
static hid_t put_ids(hid_t file, hid_t create, hid_t type, const void *data)
{
    const hid_t space = H5Screate_simple(1, (const hsize_t[]){HDF5_IDS}, NULL);
    const hid_t set = H5Dcreate2(file, "ids", type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    assert_true(set >= 0);
    if (data)
        assert_true(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Sclose(space);
    return set;
}

static hid_t chunked(hsize_t ids)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(create, 1, &ids);
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
    const hid_t create = chunked(HDF5_IDS / 2);
    H5Pset_shuffle(create);
    add_zstd(create);
    H5Pset_fletcher32(create);
    finish(put_ids(file, create, H5T_STD_I32LE, hdf5_ids), create);
}

static void only_zstd(hid_t file)
{
    const hid_t create = chunked(HDF5_IDS);
    add_zstd(create);
    finish(put_ids(file, create, H5T_STD_I32LE, hdf5_ids), create);
}

/* Stores `bytes` as the only chunk of the ids. */
static void store_chunk(hid_t file, unsigned skipped, const void *bytes, size_t n, bool fletcher)
{
    const hid_t create = chunked(HDF5_IDS);
    add_zstd(create);
    if (fletcher)
        H5Pset_fletcher32(create);
    const hid_t set = put_ids(file, create, H5T_STD_I32LE, NULL);
    assert_true(H5Dwrite_chunk(set, H5P_DEFAULT, skipped, (const hsize_t[]){0}, n, bytes) >= 0);
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
    store_chunk(file, 0, hdf5_ids, 4096, false);
}

static void skipped_filter(hid_t file)
{
    store_chunk(file, 1, hdf5_ids, 16, false);
}

static void tiny_chunk_under_fletcher(hid_t file)
{
    store_chunk(file, 0, hdf5_ids, 2, true);
}

static void missing_chunk(hid_t file)
{
    const hid_t create = chunked(HDF5_IDS);
    add_zstd(create);
    finish(put_ids(file, create, H5T_STD_I32LE, NULL), create);
}

static void fletcher_first(hid_t file)
{
    const hid_t create = chunked(HDF5_IDS);
    H5Pset_fletcher32(create);
    add_zstd(create);
    finish(put_ids(file, create, H5T_STD_I32LE, hdf5_ids), create);
}

static void no_filter(hid_t file)
{
    const hid_t create = chunked(HDF5_IDS);
    finish(put_ids(file, create, H5T_STD_I32LE, hdf5_ids), create);
}

static void other_filter(hid_t file)
{
    const hid_t create = chunked(HDF5_IDS);
    add_zstd(create);
    H5Pset_scaleoffset(create, H5Z_SO_INT, 0);
    finish(put_ids(file, create, H5T_STD_I32LE, hdf5_ids), create);
}

static size_t pass_through(unsigned flags, size_t n, const unsigned client[], size_t bytes, size_t *size,
                           void **buffer)
{
    (void)flags, (void)n, (void)client, (void)size, (void)buffer;
    return bytes;
}

/* A filter that only this process knows: others would look for a plugin. */
static void unknown_filter(hid_t file)
{
    const H5Z_class2_t filter = {.version = H5Z_CLASS_T_VERS,
                                 .id = HDF5_UNKNOWN_FILTER,
                                 .encoder_present = 1,
                                 .decoder_present = 1,
                                 .name = "unknown",
                                 .filter = pass_through};
    const hid_t create = chunked(HDF5_IDS);
    assert_true(H5Zregister(&filter) >= 0);
    assert_true(H5Pset_filter(create, HDF5_UNKNOWN_FILTER, H5Z_FLAG_MANDATORY, 0, NULL) >= 0);
    finish(put_ids(file, create, H5T_STD_I32LE, hdf5_ids), create);
    H5Zunregister(HDF5_UNKNOWN_FILTER);
}

static void contiguous(hid_t file)
{
    H5Dclose(put_ids(file, H5P_DEFAULT, H5T_STD_I32LE, hdf5_ids));
}

static void external_storage(hid_t file)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(create, "/etc/passwd", 0, sizeof hdf5_ids);
    finish(put_ids(file, create, H5T_STD_I32LE, NULL), create);
}

static void virtual_set(hid_t file)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    const hid_t space = H5Screate_simple(1, (const hsize_t[]){HDF5_IDS}, NULL);
    H5Pset_virtual(create, space, "/etc/passwd", "ids", space);
    H5Sclose(space);
    finish(put_ids(file, create, H5T_STD_I32LE, NULL), create);
}

static void soft_link(hid_t file)
{
    good(file);
    H5Lcreate_soft("/ids", file, "y", H5P_DEFAULT, H5P_DEFAULT);
}

static void external_link(hid_t file)
{
    H5Lcreate_external("/etc/passwd", "ids", file, "ids", H5P_DEFAULT, H5P_DEFAULT);
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
    const hid_t type = H5Tcopy(H5T_C_S1), create = chunked(HDF5_IDS);
    H5Tset_size(type, H5T_VARIABLE);
    finish(put_ids(file, create, type, NULL), create);
    H5Tclose(type);
}

static void big_endian(hid_t file)
{
    const hid_t create = chunked(HDF5_IDS);
    add_zstd(create);
    finish(put_ids(file, create, H5T_STD_I32BE, NULL), create);
}

static void named_type(hid_t file)
{
    const hid_t type = H5Tcopy(H5T_STD_I32LE);
    H5Tcommit2(file, "ids", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Tclose(type);
}

static void huge(hid_t file, hsize_t rows, hsize_t chunk)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(create, 1, &chunk);
    add_zstd(create);
    const hid_t space = H5Screate_simple(1, &rows, NULL);
    const hid_t set = H5Dcreate2(file, "ids", H5T_STD_I32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
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

const hdf5_attack hdf5_attacks[] = {
    {"good", good, NULL},
    {"only_zstd", only_zstd, NULL},
    {"short_chunk", short_chunk, "data is damaged"},
    {"long_chunk", long_chunk, "data is damaged"},
    {"no_frame", no_frame, "data is damaged"},
    {"skipped_filter", skipped_filter, "a chunk of it is damaged"},
    {"tiny_chunk_under_fletcher", tiny_chunk_under_fletcher, "a chunk of it is damaged"},
    {"missing_chunk", missing_chunk, "chunks are missing"},
    {"fletcher_first", fletcher_first, "its filters are not"},
    {"no_filter", no_filter, "its filters are not"},
    {"other_filter", other_filter, "its filters are not"},
    {"unknown_filter", unknown_filter, "its filters are not"},
    {"contiguous", contiguous, "neither chunked nor compact"},
    {"external_storage", external_storage, "neither chunked nor compact"},
    {"virtual_set", virtual_set, "neither chunked nor compact"},
    {"soft_link", soft_link, "y: it is a link"},
    {"external_link", external_link, "ids: it is a link"},
    {"group_in_itself", group_in_itself, NULL},
    {"deep_groups", deep_groups, "name is too long"},
    {"strings", strings, "its type is not"},
    {"big_endian", big_endian, "its type is not"},
    {"named_type", named_type, "cannot be opened as an array"},
    {"huge_chunk", huge_chunk, "larger than 64 MiB"},
    {"huge_array", huge_array, "it is too large"},
    {"many_chunks", many_chunks, "too many chunks"},
    {NULL, NULL, NULL},
};

static void put_attribute(hid_t file, const char *name, hid_t type, const void *value)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attribute >= 0 && H5Awrite(attribute, type, value) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
}

/* What else a token file holds. */
static void put_rest(hid_t file)
{
    const hid_t text = H5Tcopy(H5T_C_S1), create = chunked(HDF5_IDS), one = H5Pcreate(H5P_DATASET_CREATE);
    const hid_t space = H5Screate_simple(1, (const hsize_t[]){HDF5_IDS}, NULL);
    const hid_t single = H5Screate_simple(1, (const hsize_t[]){1}, NULL);
    H5Tset_size(text, 5);
    put_attribute(file, "format", H5T_STD_I64LE, &(int64_t){1});
    put_attribute(file, "vocab_size", H5T_STD_I64LE, &(int64_t){259});
    put_attribute(file, "tokenizer", text, "byte");
    put_attribute(file, "content", text, "none");
    static const uint8_t loss[HDF5_IDS];
    add_zstd(create);
    H5Pset_layout(one, H5D_COMPACT);
    const hid_t losses = H5Dcreate2(file, "loss", H5T_STD_U8LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
    const hid_t start = H5Dcreate2(file, "start", H5T_STD_I64LE, single, H5P_DEFAULT, one, H5P_DEFAULT);
    assert_true(H5Dwrite(losses, H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, loss) >= 0);
    assert_true(H5Dwrite(start, H5T_STD_I64LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, &(int64_t){0}) >= 0);
    H5Sclose(single);
    H5Sclose(space);
    H5Tclose(text);
    finish(start, one);
    finish(losses, create);
}

unsigned char *hdf5_attack_make(void (*fill)(hid_t file), size_t *size)
{
    const char *path = scratch_path("attack.h5");
    const hid_t create = H5Pcreate(H5P_FILE_CREATE), access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_userblock(create, BEAM_H5_SEAL);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, create, access);
    assert_true(file >= 0);
    put_rest(file);
    fill(file);
    H5Pclose(access);
    H5Pclose(create);
    assert_true(H5Fclose(file) >= 0);
    unsigned char *bytes = (unsigned char *)scratch_read(path, size);
    beam_h5_write_seal(bytes, *size, bytes);
    return bytes;
}
