#include <stdlib.h>
#include <string.h>

#include "data/hdf5_private.h"
#include "data/zstd_filter.h"

enum {
    MAX_DEPTH = 16, /* nested groups: HDF5 walks them recursively */
    MAX_NAME = 512, /* bytes of an array's name */
};

/* HDF5 would copy the image several times; these callbacks let it work on the caller's bytes instead. It asks
 * for new memory and copies into it: both are the image itself. */
static void *lend_image(size_t size, H5FD_file_image_op_t op, void *f)
{
    (void)size, (void)op;
    return ((beam_h5 *)f)->image;
}

static void *copy_nothing(void *to, const void *from, size_t size, H5FD_file_image_op_t op, void *f)
{
    (void)from, (void)size, (void)op, (void)f;
    return to;
}

static void *refuse_growth(void *p, size_t size, H5FD_file_image_op_t op, void *f)
{
    (void)p, (void)size, (void)op, (void)f;
    return NULL;
}

static herr_t free_nothing(void *p, H5FD_file_image_op_t op, void *f)
{
    (void)p, (void)op, (void)f;
    return 0;
}

static hid_t open_image(beam_h5 *f, size_t size)
{
    char name[BEAM_H5_IMAGE_NAME];
    beam_h5_image_name(f, name);
    H5FD_file_image_callbacks_t borrow = {.image_malloc = lend_image,
                                          .image_memcpy = copy_nothing,
                                          .image_realloc = refuse_growth,
                                          .image_free = free_nothing,
                                          .udata_copy = beam_h5_share,
                                          .udata_free = beam_h5_unshare,
                                          .udata = f};
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(access, BEAM_H5_GROWTH, false);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    hid_t file = H5I_INVALID_HID;
    if (H5Pset_file_image_callbacks(access, &borrow) >= 0 && H5Pset_file_image(access, f->image, size) >= 0)
        file = H5Fopen(name, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    return file;
}

static beam_status refuse(const beam_h5 *f, const char *name, const char *why)
{
    return BEAM_FAIL(f->error, "%s: array %s: %s; the file is damaged or was not written by beam", f->path,
                     name, why);
}

static beam_status add_entry(beam_h5 *f, const char *name, hid_t set)
{
    if (f->n == f->room) {
        const int room = f->room ? 2 * f->room : 16;
        beam_h5_entry *at = realloc(f->at, (size_t)room * sizeof *at);
        if (!at)
            return BEAM_FAIL(BEAM_ENOMEM, "%s: out of memory", f->path);
        f->at = at;
        f->room = room;
    }
    beam_h5_entry e = {0};
    const char *wrong = beam_h5_check(set, &e);
    if (wrong)
        return refuse(f, name, wrong);
    e.name = strdup(name);
    if (!e.name)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: out of memory", f->path);
    f->at[f->n++] = e;
    return BEAM_OK;
}

/* Called by HDF5 for each link below the root; the first failure stops the walk. */
static herr_t list_link(hid_t root, const char *name, const H5L_info_t *info, void *context)
{
    beam_h5 *f = context;
    int depth = 0;
    for (const char *c = name; *c; c++)
        depth += *c == '/';
    if (info->type != H5L_TYPE_HARD) {
        f->status = refuse(f, name, "it is a link, perhaps to another file");
    } else if (depth > MAX_DEPTH || strlen(name) > MAX_NAME) {
        f->status = refuse(f, "(nested)", "its name is too long");
    } else {
        const hid_t object = H5Oopen(root, name, H5P_DEFAULT);
        const H5I_type_t kind = H5Iget_type(object);
        if (kind == H5I_DATASET)
            f->status = add_entry(f, name, object);
        else if (kind != H5I_GROUP)
            f->status = refuse(f, name, "it cannot be opened as an array");
        if (object >= 0)
            H5Oclose(object);
    }
    return f->status == BEAM_OK ? 0 : -1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const beam_h5_entry *)a)->name, ((const beam_h5_entry *)b)->name);
}

/* Whether the first bytes are the seal of the others. */
static bool is_sealed(const unsigned char *image, size_t size)
{
    unsigned char seal[BEAM_H5_SEAL];
    if (size <= sizeof seal)
        return false;
    beam_h5_write_seal(image, size, seal);
    return memcmp(image, seal, sizeof seal) == 0;
}

beam_status beam_h5_open(const void *image, size_t size, const char *path, beam_status error, beam_h5 **out)
{
    *out = NULL;
    beam_h5 *f;
    BEAM_TRY(beam_h5_new(path, error, &f));
    f->image = (void *)image;
    if (!is_sealed(image, size))
        f->status = BEAM_FAIL(error, "%s: damaged, or not written by beam (its checksum is wrong)", path);
    else if ((f->file = open_image(f, size)) < 0)
        f->status = BEAM_FAIL(error, "%s: not an HDF5 file", path);
    else if (H5Lvisit(f->file, H5_INDEX_NAME, H5_ITER_INC, list_link, f) < 0 && f->status == BEAM_OK)
        f->status = BEAM_FAIL(error, "%s: damaged: its arrays cannot be listed", path);
    if (f->status != BEAM_OK) {
        const beam_status s = f->status;
        beam_h5_close(f);
        return s;
    }
    if (f->n > 0)
        qsort(f->at, (size_t)f->n, sizeof *f->at, by_name);
    *out = f;
    return BEAM_OK;
}

int beam_h5_count(const beam_h5 *f)
{
    return f->n;
}

void beam_h5_at(const beam_h5 *f, int i, const char **name, beam_tensor *shape)
{
    BEAM_ASSERT(i >= 0 && i < f->n);
    *name = f->at[i].name;
    *shape = f->at[i].shape;
}

/* NULL if there is none of that name. */
static const beam_h5_entry *find(const beam_h5 *f, const char *name)
{
    const beam_h5_entry key = {.name = (char *)name};
    return f->n ? bsearch(&key, f->at, (size_t)f->n, sizeof *f->at, by_name) : NULL;
}

static beam_status missing(const beam_h5 *f, const char *name)
{
    return BEAM_FAIL(f->error, "%s: array %s is missing", f->path, name);
}

beam_status beam_h5_shape(beam_h5 *f, const char *name, beam_tensor *shape)
{
    const beam_h5_entry *e = find(f, name);
    if (!e)
        return missing(f, name);
    *shape = e->shape;
    return BEAM_OK;
}

beam_status beam_h5_get(beam_h5 *f, const char *name, beam_tensor t)
{
    const beam_h5_entry *e = find(f, name);
    if (!e)
        return missing(f, name);
    if (e->shape.dtype != t.dtype || !beam_same_shape(e->shape, t))
        return refuse(f, name, "its type or shape is not the expected one");
    if (beam_count(t) == 0)
        return BEAM_OK;
    const hid_t set = H5Dopen2(f->file, name, H5P_DEFAULT);
    beam_zstd_expect(e->chunk_bytes);
    const bool good =
        set >= 0 && H5Dread(set, beam_h5_memory_type(t.dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, t.data) >= 0;
    beam_zstd_expect(0);
    if (set >= 0)
        H5Dclose(set);
    return good ? BEAM_OK : refuse(f, name, "its data is damaged");
}

/* Opens an attribute of the root group that holds a single value. */
static beam_status open_attribute(beam_h5 *f, const char *name, hid_t *out)
{
    *out = H5I_INVALID_HID;
    const hid_t attribute = H5Aexists(f->file, name) > 0 ? H5Aopen(f->file, name, H5P_DEFAULT) : -1;
    if (attribute < 0)
        return BEAM_FAIL(f->error, "%s: attribute %s is missing", f->path, name);
    const hid_t space = H5Aget_space(attribute);
    const bool one = H5Sget_simple_extent_npoints(space) == 1;
    H5Sclose(space);
    if (!one) {
        H5Aclose(attribute);
        return BEAM_FAIL(f->error, "%s: attribute %s is not a single value", f->path, name);
    }
    *out = attribute;
    return BEAM_OK;
}

beam_status beam_h5_get_text(beam_h5 *f, const char *name, char *text, size_t size)
{
    hid_t attribute;
    BEAM_TRY(open_attribute(f, name, &attribute));
    const hid_t type = H5Aget_type(attribute);
    const size_t stored = H5Tget_size(type); /* with the zero byte, if it has one: h5py's texts have none */
    bool good = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 && stored <= size &&
                H5Aread(attribute, type, text) >= 0;
    if (good && stored < size)
        text[stored] = '\0';
    good = good && memchr(text, 0, size);
    H5Tclose(type);
    H5Aclose(attribute);
    if (!good)
        return BEAM_FAIL(f->error, "%s: attribute %s is not a text of at most %zu bytes", f->path, name,
                         size - 1);
    return BEAM_OK;
}

beam_status beam_h5_get_i64(beam_h5 *f, const char *name, int64_t *value)
{
    hid_t attribute;
    BEAM_TRY(open_attribute(f, name, &attribute));
    const hid_t type = H5Aget_type(attribute);
    const bool good = H5Tequal(type, H5T_STD_I64LE) > 0 && H5Aread(attribute, H5T_NATIVE_INT64, value) >= 0;
    H5Tclose(type);
    H5Aclose(attribute);
    if (!good)
        return BEAM_FAIL(f->error, "%s: attribute %s is not a 64-bit integer", f->path, name);
    return BEAM_OK;
}
