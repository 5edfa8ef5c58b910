#include "data/hdf5_private.h"
#include "data/zstd_filter.h"

enum {
    MAX_CHUNKS = 1 << 16, /* per array: HDF5 looks chunks up in linear time */
    MIN_STORED = 9,       /* bytes: the smallest zstd frame; HDF5's Fletcher32 reads before shorter chunks */
};

/* Reading with a filter is safe only if zstd, which checks the size, decodes to the whole chunk: it comes
 * first or after the shuffle, and nothing but Fletcher32 follows. */
static bool pipeline_is_ours(hid_t create)
{
    static const H5Z_filter_t order[] = {H5Z_FILTER_SHUFFLE, BEAM_ZSTD_FILTER, H5Z_FILTER_FLETCHER32};
    const int n = H5Pget_nfilters(create);
    int at = 0;
    bool zstd = false;
    for (int i = 0; i < n; i++) {
        unsigned flags, config;
        size_t values = 0;
        const H5Z_filter_t id = H5Pget_filter2(create, (unsigned)i, &flags, &values, NULL, 0, NULL, &config);
        while (at < 3 && order[at] != id)
            at++;
        if (at++ == 3)
            return false;
        zstd |= id == BEAM_ZSTD_FILTER;
    }
    return zstd;
}

/* Every chunk must be there (HDF5 makes up the others: a few bytes could claim any size), with no filter left
 * out. *bytes is the decoded size of one. NULL, or why the array is refused. */
static const char *check_chunks(hid_t set, hid_t create, hid_t space, beam_tensor shape, size_t *bytes)
{
    hsize_t dim[H5S_MAX_RANK], chunks = 0, expected = 1, stored;
    const int n = H5Pget_chunk(create, H5S_MAX_RANK, dim);
    if (n != shape.ndim || !pipeline_is_ours(create))
        return "its filters are not zstd with an optional shuffle and Fletcher32";
    *bytes = beam_dtype_size(shape.dtype);
    for (int i = 0; i < n; i++) {
        if (__builtin_mul_overflow(*bytes, dim[i], bytes) || *bytes == 0 || *bytes > BEAM_ZSTD_CHUNK_MAX)
            return "its chunks are larger than 64 MiB";
        expected *= ((hsize_t)shape.dim[i] - 1) / dim[i] + 1;
        if (expected > MAX_CHUNKS)
            return "it has too many chunks";
    }
    if (H5Dget_num_chunks(set, space, &chunks) < 0 || chunks != expected)
        return "some of its chunks are missing";
    for (hsize_t i = 0; i < chunks; i++) {
        unsigned skipped = 0;
        haddr_t address;
        if (H5Dget_chunk_info(set, space, i, dim, &skipped, &address, &stored) < 0 || skipped != 0 ||
            stored < MIN_STORED || stored > 2 * (hsize_t)BEAM_ZSTD_CHUNK_MAX)
            return "a chunk of it is damaged";
    }
    return NULL;
}

/* The shape of a data set: NULL, or why it is refused. */
static const char *check_space(hid_t space, beam_dtype dtype, beam_tensor *shape)
{
    hsize_t dim[H5S_MAX_RANK];
    const H5S_class_t kind = H5Sget_simple_extent_type(space);
    const int n = kind == H5S_SCALAR ? 0 : H5Sget_simple_extent_ndims(space);
    if ((kind != H5S_SCALAR && kind != H5S_SIMPLE) || n < 0 || n > BEAM_MAX_DIM)
        return "it has more than 4 dimensions";
    if (n > 0 && H5Sget_simple_extent_dims(space, dim, NULL) != n)
        return "its dimensions cannot be read";
    int64_t bytes = (int64_t)beam_dtype_size(dtype), dims[BEAM_MAX_DIM] = {0};
    for (int i = 0; i < n; i++) {
        dims[i] = (int64_t)dim[i];
        if (dim[i] > INT64_MAX || (dim[i] > 0 && __builtin_mul_overflow(bytes, dims[i], &bytes)))
            return "it is too large";
    }
    *shape = beam_view(NULL, dtype, n, dims);
    return NULL;
}

static bool known_type(hid_t type, beam_dtype *out)
{
    static const beam_dtype known[] = {BEAM_F32, BEAM_F64, BEAM_I32, BEAM_I64, BEAM_U8};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (H5Tequal(type, beam_h5_stored_type(known[i])) > 0) {
            *out = known[i];
            return true;
        }
    return false;
}

/* The layout is judged first, because merely asking a virtual data set for its shape opens other files. */
const char *beam_h5_check(hid_t set, beam_h5_entry *e)
{
    beam_dtype dtype;
    const char *wrong = NULL;
    const hid_t create = H5Dget_create_plist(set), type = H5Dget_type(set);
    const H5D_layout_t layout = H5Pget_layout(create);
    hid_t space = H5I_INVALID_HID;
    if ((layout != H5D_CHUNKED && layout != H5D_COMPACT) || H5Pget_external_count(create) != 0)
        wrong = "it is neither chunked nor compact";
    else if (!known_type(type, &dtype))
        wrong = "its type is not f32, f64, i32, i64 or u8";
    else if ((space = H5Dget_space(set)) < 0)
        wrong = "its dimensions cannot be read";
    else
        wrong = check_space(space, dtype, &e->shape);
    if (!wrong && layout == H5D_COMPACT && H5Dget_storage_size(set) != beam_bytes(e->shape))
        wrong = "its data is shorter or longer than its dimensions";
    if (!wrong && layout == H5D_CHUNKED && beam_count(e->shape) > 0)
        wrong = check_chunks(set, create, space, e->shape, &e->chunk_bytes);
    H5Sclose(space);
    H5Tclose(type);
    H5Pclose(create);
    return wrong;
}
