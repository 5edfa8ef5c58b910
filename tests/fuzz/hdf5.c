/* Any bytes as HDF5 behind a seal that is right: the hash is no defence against whoever can compute one. The
 * image is refused, or every array and attribute of it can be asked for. */
#include <stdlib.h>
#include <string.h>

#include "data/hdf5_private.h"
#include "fuzz/fuzz.h"

enum { MIB = 1 << 20, MOST = MIB }; /* bytes of an array that is read */

static void take_image(fuzz_taker take, void *context, beam_h5 *f)
{
    void *image;
    size_t size;
    BEAM_ASSERT(beam_h5_finish(f, &image, &size) == BEAM_OK);
    take(context, (char *)image + BEAM_H5_SEAL, size - BEAM_H5_SEAL);
    free(image);
}

void fuzz_seeds(fuzz_taker take, void *context)
{
    static int64_t x[600];
    const beam_dtype types[] = {BEAM_F32, BEAM_F64, BEAM_I32, BEAM_I64, BEAM_U8};
    beam_h5 *f;
    for (int i = 0; i < 5; i++) {
        BEAM_ASSERT(beam_h5_create(&f) == BEAM_OK);
        BEAM_ASSERT(beam_h5_put_i64(f, "format", i) == BEAM_OK &&
                    beam_h5_put_text(f, "name", "byte") == BEAM_OK);
        BEAM_ASSERT(beam_h5_put(f, "ids", beam_view(x, types[i], BEAM_DIMS(20, 30))) == BEAM_OK);
        BEAM_ASSERT(beam_h5_put(f, "a/b", beam_view(x, BEAM_I32, 0, NULL)) == BEAM_OK);
        BEAM_ASSERT(beam_h5_put(f, "a/empty", beam_view(x, BEAM_U8, BEAM_DIMS(0))) == BEAM_OK);
        take_image(take, context, f);
    }
}

static void read_all(beam_h5 *f)
{
    char text[64];
    int64_t value;
    beam_h5_get_i64(f, "format", &value);
    if (beam_h5_get_text(f, "name", text, sizeof text) == BEAM_OK)
        BEAM_ASSERT(memchr(text, 0, sizeof text));
    for (int i = 0; i < beam_h5_count(f); i++) {
        const char *name;
        beam_tensor t;
        beam_h5_at(f, i, &name, &t);
        if (beam_bytes(t) > MOST)
            continue;
        t.data = malloc(beam_bytes(t) + 1);
        BEAM_ASSERT(t.data);
        beam_h5_get(f, name, t);
        free(t.data);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    beam_h5 *f;
    unsigned char *image = malloc(BEAM_H5_SEAL + size);
    BEAM_ASSERT(image);
    /* Room for the 300 kB that libhdf5 would give back to the system after each file: three times faster. */
    H5set_free_list_limits(8 * MIB, 8 * MIB, 4 * MIB, MIB, 16 * MIB, MIB);
    memcpy(image + BEAM_H5_SEAL, bytes, size);
    beam_h5_write_seal(image, BEAM_H5_SEAL + size, image);
    if (beam_h5_open(image, BEAM_H5_SEAL + size, "fuzz", BEAM_EDATA, &f) == BEAM_OK) {
        read_all(f);
        beam_h5_close(f);
    }
    free(image);
    return 0;
}
