#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/file.h"
#include "data/hdf5_private.h"
#include "data/zstd_filter.h"

enum {
    CHUNK_BYTES = 1 << 22, /* what writing aims at */
    MAX_NAME = 512,        /* bytes of an array's name; reading accepts as many */
};

hid_t beam_h5_stored_type(beam_dtype t)
{
    switch (t) {
    case BEAM_F32:
        return H5T_IEEE_F32LE;
    case BEAM_F64:
        return H5T_IEEE_F64LE;
    case BEAM_I32:
        return H5T_STD_I32LE;
    case BEAM_I64:
        return H5T_STD_I64LE;
    case BEAM_U8:
        return H5T_STD_U8LE;
    case BEAM_BF16:
    case BEAM_F16:
        break;
    }
    return H5I_INVALID_HID;
}

hid_t beam_h5_memory_type(beam_dtype t)
{
    switch (t) {
    case BEAM_F32:
        return H5T_NATIVE_FLOAT;
    case BEAM_F64:
        return H5T_NATIVE_DOUBLE;
    case BEAM_I32:
        return H5T_NATIVE_INT32;
    case BEAM_I64:
        return H5T_NATIVE_INT64;
    case BEAM_U8:
        return H5T_NATIVE_UINT8;
    case BEAM_BF16:
    case BEAM_F16:
        break;
    }
    return H5I_INVALID_HID;
}

beam_status beam_h5_new(const char *path, beam_status error, beam_h5 **out)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
    BEAM_TRY(beam_zstd_register());
    beam_h5 *f = calloc(1, sizeof *f);
    if (!f)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: out of memory", path);
    f->file = H5I_INVALID_HID;
    f->error = error;
    snprintf(f->path, sizeof f->path, "%s", path);
    *out = f;
    return BEAM_OK;
}

void beam_h5_image_name(const beam_h5 *f, char name[BEAM_H5_IMAGE_NAME])
{
    snprintf(name, BEAM_H5_IMAGE_NAME, "beam-image-%p", (const void *)f);
}

void beam_h5_close(beam_h5 *f)
{
    if (!f)
        return;
    if (f->file >= 0)
        H5Fclose(f->file);
    free(f->built);
    for (int i = 0; i < f->n; i++)
        free(f->at[i].name);
    free(f->at);
    free(f);
}

void *beam_h5_share(void *f)
{
    return f;
}

herr_t beam_h5_unshare(void *f)
{
    (void)f;
    return 0;
}

/* The memory of an image under construction is kept when HDF5 closes the file and lets go of it: only then is
 * it complete (H5Fget_file_image leaves a wrong superblock checksum in the format of 1.10). */
static void *more_memory(void *p, size_t size, H5FD_file_image_op_t op, void *f)
{
    (void)op;
    void *q = realloc(p, size);
    if (q)
        ((beam_h5 *)f)->capacity = size;
    return q;
}

static herr_t keep_memory(void *p, H5FD_file_image_op_t op, void *f)
{
    (void)op;
    ((beam_h5 *)f)->built = p;
    return 0;
}

beam_status beam_h5_create(beam_h5 **out)
{
    BEAM_TRY(beam_h5_new("HDF5 image", BEAM_ENOMEM, out));
    char name[BEAM_H5_IMAGE_NAME];
    beam_h5_image_name(*out, name);
    H5FD_file_image_callbacks_t memory = {.image_realloc = more_memory,
                                          .image_free = keep_memory,
                                          .udata_copy = beam_h5_share,
                                          .udata_free = beam_h5_unshare,
                                          .udata = *out};
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS), create = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_fapl_core(access, BEAM_H5_GROWTH, false);
    H5Pset_file_image_callbacks(access, &memory);
    /* The format of 1.10 has checksums on all metadata. */
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    H5Pset_userblock(create, BEAM_H5_SEAL);
    H5Pset_obj_track_times(create, false); /* equal content, equal bytes */
    (*out)->file = H5Fcreate(name, H5F_ACC_TRUNC, create, access);
    H5Pclose(create);
    H5Pclose(access);
    if ((*out)->file >= 0)
        return BEAM_OK;
    beam_h5_close(*out);
    *out = NULL;
    return BEAM_FAIL(BEAM_ENOMEM, "cannot create an HDF5 image: out of memory");
}

/* Whole rows, as many as fit into CHUNK_BYTES; parts of one row if it is longer. The array is not empty. */
static void choose_chunk(beam_tensor t, hsize_t chunk[BEAM_MAX_DIM])
{
    hsize_t room = CHUNK_BYTES / beam_dtype_size(t.dtype);
    for (int i = t.ndim - 1; i >= 0; i--) {
        const hsize_t dim = (hsize_t)t.dim[i];
        BEAM_ASSERT(dim > 0);
        chunk[i] = dim < room ? dim : room;
        room = room / chunk[i] > 0 ? room / chunk[i] : 1;
    }
}

/* How the array is laid out. Scalars and empty arrays cannot be chunked; they live in the object header,
 * which has its own checksum. */
static hid_t layout_of(beam_tensor t)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    const unsigned level = BEAM_ZSTD_LEVEL;
    hsize_t chunk[BEAM_MAX_DIM];
    herr_t bad = H5Pset_obj_track_times(create, false);
    if (t.ndim == 0 || beam_count(t) == 0) {
        bad |= H5Pset_layout(create, H5D_COMPACT);
    } else {
        choose_chunk(t, chunk);
        bad |= H5Pset_chunk(create, t.ndim, chunk);
        if (beam_dtype_size(t.dtype) > 1)
            bad |= H5Pset_shuffle(create);
        bad |= H5Pset_filter(create, BEAM_ZSTD_FILTER, H5Z_FLAG_MANDATORY, 1, &level);
        bad |= H5Pset_fletcher32(create);
    }
    if (bad >= 0)
        return create;
    H5Pclose(create);
    return H5I_INVALID_HID;
}

/* The groups that the name leads through. HDF5 would make them by itself, but with the time of day in them.
 */
static bool make_groups(const beam_h5 *f, const char *name)
{
    char path[MAX_NAME + 1];
    const hid_t create = H5Pcreate(H5P_GROUP_CREATE);
    bool good = H5Pset_obj_track_times(create, false) >= 0;
    for (const char *slash = strchr(name, '/'); slash && good; slash = strchr(slash + 1, '/')) {
        good = (size_t)(slash - name) < sizeof path;
        if (!good)
            break;
        snprintf(path, sizeof path, "%.*s", (int)(slash - name), name);
        if (H5Lexists(f->file, path, H5P_DEFAULT) > 0)
            continue;
        const hid_t group = H5Gcreate2(f->file, path, H5P_DEFAULT, create, H5P_DEFAULT);
        good = group >= 0 && H5Gclose(group) >= 0;
    }
    H5Pclose(create);
    return good;
}

beam_status beam_h5_put(beam_h5 *f, const char *name, beam_tensor t)
{
    BEAM_ASSERT(beam_h5_stored_type(t.dtype) >= 0 && (t.data || beam_count(t) == 0));
    hsize_t dim[BEAM_MAX_DIM];
    for (int i = 0; i < t.ndim; i++)
        dim[i] = (hsize_t)t.dim[i];
    const hid_t space = t.ndim ? H5Screate_simple(t.ndim, dim, NULL) : H5Screate(H5S_SCALAR);
    const hid_t create = layout_of(t);
    bool good = make_groups(f, name);
    const hid_t set = good ? H5Dcreate2(f->file, name, beam_h5_stored_type(t.dtype), space, H5P_DEFAULT,
                                        create, H5P_DEFAULT)
                           : H5I_INVALID_HID;
    good = set >= 0;
    if (good && beam_count(t) > 0)
        good = H5Dwrite(set, beam_h5_memory_type(t.dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, t.data) >= 0;
    if (set >= 0)
        good &= H5Dclose(set) >= 0;
    H5Pclose(create);
    H5Sclose(space);
    if (!good)
        return BEAM_FAIL(BEAM_ENOMEM, "cannot add array %s to the HDF5 image: out of memory, or a second %s",
                         name, name);
    return BEAM_OK;
}

/* Adds one value as an attribute of the root group. */
static beam_status put_attribute(beam_h5 *f, const char *name, hid_t type, const void *value)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(f->file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool good = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    H5Aclose(attribute);
    H5Sclose(space);
    if (!good)
        return BEAM_FAIL(BEAM_ENOMEM, "cannot add %s to the HDF5 image: out of memory, or a second %s", name,
                         name);
    return BEAM_OK;
}

beam_status beam_h5_put_text(beam_h5 *f, const char *name, const char *text)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(text) + 1);
    const beam_status s = put_attribute(f, name, type, text);
    H5Tclose(type);
    return s;
}

beam_status beam_h5_put_i64(beam_h5 *f, const char *name, int64_t value)
{
    return put_attribute(f, name, H5T_STD_I64LE, &value);
}

void beam_h5_write_seal(const unsigned char *image, size_t size, unsigned char seal[BEAM_H5_SEAL])
{
    char hex[BEAM_SHA256_HEX];
    beam_sha256(image + BEAM_H5_SEAL, size - BEAM_H5_SEAL, hex);
    memset(seal, 0, BEAM_H5_SEAL);
    snprintf((char *)seal, BEAM_H5_SEAL, "BEAM: HDF5 from byte 512 on, SHA-256 %s\n", hex);
}

/* The length that the superblock gives: its bytes 28 to 35, little-endian. The memory behind it is larger. */
static uint64_t stored_length(const unsigned char *image)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | image[BEAM_H5_SEAL + 28 + i];
    return n;
}

beam_status beam_h5_finish(beam_h5 *f, void **image, size_t *size)
{
    *image = NULL;
    const bool closed = H5Fclose(f->file) >= 0;
    f->file = H5I_INVALID_HID;
    const uint64_t length = f->built ? stored_length(f->built) : 0;
    const bool good = closed && f->built && length <= f->capacity;
    if (good) {
        void *fitting = realloc(f->built, length);
        *image = fitting ? fitting : f->built;
        *size = length;
        f->built = NULL;
        beam_h5_write_seal(*image, *size, *image);
    }
    beam_h5_close(f);
    return good ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "cannot finish an HDF5 image: out of memory");
}
