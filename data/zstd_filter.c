#include "data/zstd_filter.h"

#include <hdf5.h>
#include <zstd.h>

/* HDF5 gives a filter no way to learn the size of the chunk it decodes. */
static _Thread_local size_t expected;

void beam_zstd_expect(size_t bytes)
{
    expected = bytes;
}

/* Replaces HDF5's buffer by `out`, which holds `used` of `capacity` bytes. */
static size_t hand_over(void *out, size_t used, size_t capacity, size_t *buffer_size, void **buffer)
{
    H5free_memory(*buffer);
    *buffer = out;
    *buffer_size = capacity;
    return used;
}

static size_t compress(int level, size_t bytes, size_t *buffer_size, void **buffer)
{
    const size_t capacity = ZSTD_compressBound(bytes);
    void *out = H5allocate_memory(capacity, false);
    ZSTD_CCtx *context = ZSTD_createCCtx();
    size_t used = 0;
    if (out && context) {
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
        used = ZSTD_compress2(context, out, capacity, *buffer, bytes);
    }
    ZSTD_freeCCtx(context);
    if (used == 0 || ZSTD_isError(used)) {
        H5free_memory(out);
        return 0;
    }
    return hand_over(out, used, capacity, buffer_size, buffer);
}

static size_t decompress(size_t bytes, size_t *buffer_size, void **buffer)
{
    if (expected == 0 || expected > BEAM_ZSTD_CHUNK_MAX)
        return 0;
    void *out = H5allocate_memory(expected, false);
    if (!out)
        return 0;
    const size_t used = ZSTD_decompress(out, expected, *buffer, bytes);
    if (ZSTD_isError(used) || used != expected) {
        H5free_memory(out);
        return 0;
    }
    return hand_over(out, used, expected, buffer_size, buffer);
}

/* The filter as HDF5 calls it: returns the bytes now in *buffer, or 0 for failure. */
static size_t run(unsigned flags, size_t n, const unsigned client[], size_t bytes, size_t *buffer_size,
                  void **buffer)
{
    if (flags & H5Z_FLAG_REVERSE)
        return decompress(bytes, buffer_size, buffer);
    return compress(n > 0 ? (int)client[0] : BEAM_ZSTD_LEVEL, bytes, buffer_size, buffer);
}

beam_status beam_zstd_register(void)
{
    static const H5Z_class2_t filter = {
        .version = H5Z_CLASS_T_VERS,
        .id = BEAM_ZSTD_FILTER,
        .encoder_present = 1,
        .decoder_present = 1,
        .name = "Zstandard compression: http://www.zstd.net",
        .filter = run,
    };
    if (H5Zregister(&filter) < 0)
        return BEAM_FAIL(BEAM_EINTERNAL, "HDF5 did not accept the zstd filter");
    return BEAM_OK;
}
