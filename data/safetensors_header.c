#include "data/safetensors_header.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/json.h"

void beam_weight_list_free(beam_weight_list *list)
{
    for (int64_t i = 0; i < list->n; i++)
        free((char *)list->at[i].name);
    free(list->at);
    *list = (beam_weight_list){0};
}

beam_status beam_read_at(int fd, const char *path, uint64_t offset, void *bytes, size_t size)
{
    char *to = bytes;
    while (size > 0) {
        const size_t piece = size < 1u << 30 ? size : 1u << 30;
        const ssize_t n = pread(fd, to, piece, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return BEAM_FAIL(BEAM_EIO, "%s: cannot read: %s", path, strerror(errno));
        if (n == 0)
            return BEAM_FAIL(BEAM_EIO, "%s: became shorter while it was read", path);
        to += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return BEAM_OK;
}

static bool find_dtype(const char *name, beam_dtype *out)
{
    static const struct {
        const char *name;
        beam_dtype dtype;
    } table[] = {{"F32", BEAM_F32}, {"BF16", BEAM_BF16}, {"F16", BEAM_F16}, {"F64", BEAM_F64},
                 {"I32", BEAM_I32}, {"I64", BEAM_I64},   {"U8", BEAM_U8}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(name, table[i].name) == 0) {
            *out = table[i].dtype;
            return true;
        }
    return false;
}

static beam_status check_name(const char *path, const char *name)
{
    const size_t n = strlen(name);
    if (n == 0 || n > BEAM_WEIGHT_NAME_MAX)
        return BEAM_FAIL(BEAM_EMODEL, "%s: a tensor name has %zu bytes; 1 to %d are accepted", path, n,
                         BEAM_WEIGHT_NAME_MAX);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 127)
            return BEAM_FAIL(BEAM_EMODEL, "%s: a tensor name holds a control character", path);
    return BEAM_OK;
}

static beam_status read_shape(const char *path, const json_t *shape, beam_weight *t)
{
    if (!json_is_array(shape) || json_array_size(shape) > BEAM_MAX_DIM)
        return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s: \"shape\" is not a list of at most %d sizes", path,
                         t->name, BEAM_MAX_DIM);
    t->ndim = (int)json_array_size(shape);
    int64_t bytes = (int64_t)beam_dtype_size(t->dtype);
    for (int i = 0; i < BEAM_MAX_DIM; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        t->dim[i] = i < t->ndim ? json_integer_value(dim) : 1;
        if (i < t->ndim && (!json_is_integer(dim) || t->dim[i] < 0))
            return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s: dim %d of its shape is not a size", path, t->name,
                             i);
        if (__builtin_mul_overflow(bytes, t->dim[i], &bytes))
            return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s: its shape overflows 64 bits", path, t->name);
    }
    t->bytes = (uint64_t)bytes;
    return BEAM_OK;
}

/* Offsets in the header count from the start of the data; t->offset is left in those terms here. */
static beam_status read_offsets(const char *path, const json_t *offsets, uint64_t payload, beam_weight *t)
{
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s: \"data_offsets\" is not [begin, end]", path, t->name);
    const int64_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin || (uint64_t)end > payload)
        return BEAM_FAIL(BEAM_EMODEL,
                         "%s: tensor %s: data_offsets [%lld, %lld] are outside the %llu bytes of data; was "
                         "the file cut off?",
                         path, t->name, (long long)begin, (long long)end, (unsigned long long)payload);
    if ((uint64_t)(end - begin) != t->bytes)
        return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s: its shape needs %llu bytes, its data_offsets hold %lld",
                         path, t->name, (unsigned long long)t->bytes, (long long)(end - begin));
    t->offset = (uint64_t)begin;
    return BEAM_OK;
}

static beam_status read_tensor(const char *path, const json_t *value, uint64_t payload, beam_weight *t)
{
    char found[64];
    const json_t *dtype = json_object_get(value, "dtype");
    if (!json_is_object(value) || json_object_size(value) != 3)
        return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s: expected exactly dtype, shape and data_offsets", path,
                         t->name);
    if (!json_is_string(dtype) || !find_dtype(json_string_value(dtype), &t->dtype))
        return BEAM_FAIL(BEAM_EMODEL,
                         "%s: tensor %s: dtype is %s; beam reads F32, BF16, F16, F64, I32, I64 and U8", path,
                         t->name, beam_json_show(dtype, found));
    BEAM_TRY(read_shape(path, json_object_get(value, "shape"), t));
    BEAM_TRY(read_offsets(path, json_object_get(value, "data_offsets"), payload, t));
    return BEAM_OK;
}

static beam_status check_metadata(const char *path, json_t *metadata)
{
    const char *key;
    json_t *value;
    bool texts = json_is_object(metadata);
    json_object_foreach(metadata, key, value) texts = texts && json_is_string(value);
    if (!texts)
        return BEAM_FAIL(BEAM_EMODEL, "%s: \"__metadata__\" is not an object of texts", path);
    return BEAM_OK;
}

static beam_status append(beam_weight_list *list, const char *path, const char *name, int file)
{
    if (list->n == BEAM_MAX_WEIGHTS)
        return BEAM_FAIL(BEAM_EMODEL, "%s: the model has more than %d tensors", path, BEAM_MAX_WEIGHTS);
    if (list->n == list->capacity) {
        const int64_t capacity = list->capacity ? 2 * list->capacity : 256;
        beam_weight *at = realloc(list->at, (size_t)capacity * sizeof *at);
        if (!at)
            return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for its list of tensors", path);
        list->at = at;
        list->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for its list of tensors", path);
    list->at[list->n++] = (beam_weight){.name = copy, .file = file};
    return BEAM_OK;
}

static int by_offset(const void *a, const void *b)
{
    const beam_weight *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty tensors first */
}

/* Sorted by place, the tensors from `first` must cover the data exactly: no byte unused, none used twice. */
static beam_status check_cover(const char *path, beam_weight_list *list, int64_t first, uint64_t payload)
{
    uint64_t place = 0;
    beam_weight *at = list->at;
    if (list->n > first)
        qsort(at + first, (size_t)(list->n - first), sizeof *at, by_offset);
    for (int64_t i = first; i < list->n; i++) {
        if (at[i].offset != place)
            return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s: its data %s the one before it", path, at[i].name,
                             at[i].offset < place ? "overlaps" : "leaves a hole after");
        place += at[i].bytes;
    }
    if (place != payload)
        return BEAM_FAIL(BEAM_EMODEL, "%s: the tensors end at byte %llu of %llu bytes of data", path,
                         (unsigned long long)place, (unsigned long long)payload);
    return BEAM_OK;
}

static beam_status read_tensors(const char *path, json_t *header, uint64_t start, uint64_t payload, int file,
                                beam_weight_list *list)
{
    const char *name;
    json_t *value;
    const int64_t before = list->n;
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            BEAM_TRY(check_metadata(path, value));
            continue;
        }
        BEAM_TRY(check_name(path, name));
        BEAM_TRY(append(list, path, name, file));
        BEAM_TRY(read_tensor(path, value, payload, &list->at[list->n - 1]));
    }
    BEAM_TRY(check_cover(path, list, before, payload));
    for (int64_t i = before; i < list->n; i++)
        list->at[i].offset += start;
    return BEAM_OK;
}

beam_status beam_safetensors_parse_header(const char *path, const char *json, size_t size, uint64_t start,
                                          uint64_t payload, int file, beam_weight_list *list)
{
    json_t *header;
    if (size == 0 || json[0] != '{')
        return BEAM_FAIL(BEAM_EMODEL, "%s: not a safetensors file: its header does not start with '{'", path);
    BEAM_TRY(beam_json_parse(path, json, size, BEAM_EMODEL, &header));
    const beam_status s = read_tensors(path, header, start, payload, file, list);
    json_decref(header);
    return s;
}

beam_status beam_safetensors_read_header(int fd, const char *path, int file, beam_weight_list *list)
{
    unsigned char prefix[8];
    uint64_t length = 0;
    struct stat info;
    if (fstat(fd, &info) != 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot read its size: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return BEAM_FAIL(BEAM_EMODEL, "%s: not a regular file", path);
    const uint64_t size = (uint64_t)info.st_size;
    if (size < 8 + 2)
        return BEAM_FAIL(BEAM_EMODEL, "%s: has %llu bytes, too few for a safetensors file", path,
                         (unsigned long long)size);
    BEAM_TRY(beam_read_at(fd, path, 0, prefix, sizeof prefix));
    for (int i = 7; i >= 0; i--)
        length = length << 8 | prefix[i];
    if (length > BEAM_SAFETENSORS_HEADER_MAX || length > size - 8)
        return BEAM_FAIL(BEAM_EMODEL,
                         "%s: not a safetensors file, or cut off: its header claims %llu bytes, the file has "
                         "%llu",
                         path, (unsigned long long)length, (unsigned long long)size);
    char *json = malloc((size_t)length + 1);
    if (!json)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for its header of %llu bytes", path,
                         (unsigned long long)length);
    beam_status s = beam_read_at(fd, path, 8, json, (size_t)length);
    if (s == BEAM_OK)
        s = beam_safetensors_parse_header(path, json, (size_t)length, 8 + length, size - 8 - length, file,
                                          list);
    free(json);
    return s;
}
