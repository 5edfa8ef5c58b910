/* The writing half of data/safetensors.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/file.h"
#include "data/json.h"
#include "data/safetensors.h"

static const char *format_dtype(beam_dtype t)
{
    static const char *const name[] = {
        [BEAM_F32] = "F32", [BEAM_F64] = "F64", [BEAM_BF16] = "BF16", [BEAM_F16] = "F16",
        [BEAM_I32] = "I32", [BEAM_I64] = "I64", [BEAM_U8] = "U8"};
    return name[t];
}

static uint64_t source_bytes(const beam_weight_source *t)
{
    return beam_bytes(beam_view(NULL, t->dtype, t->ndim, t->dim));
}

static uint64_t total_bytes(const beam_weight_source *tensors, int64_t n)
{
    uint64_t total = 0;
    for (int64_t i = 0; i < n; i++)
        total += source_bytes(&tensors[i]);
    return total;
}

static json_t *describe(const beam_weight_source *t, uint64_t begin)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->ndim; i++)
        json_array_append_new(shape, json_integer(t->dim[i]));
    const uint64_t end = begin + source_bytes(t);
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", format_dtype(t->dtype), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

/* The JSON of the header, padded with spaces so that the data starts at a multiple of 8; NULL without memory.
 * order[] says which tensor stands where. */
static char *make_header(const beam_weight_source *tensors, const int64_t *order, int64_t n, size_t *size)
{
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    uint64_t place = 0;
    int bad = header == NULL;
    for (int64_t i = 0; i < n && !bad; i++) {
        const beam_weight_source *t = &tensors[order[i]];
        BEAM_ASSERT(!json_object_get(header, t->name));
        bad = json_object_set_new(header, t->name, describe(t, place));
        place += source_bytes(t);
    }
    char *text = bad ? NULL : json_dumps(header, JSON_COMPACT);
    json_decref(header);
    const size_t length = text ? strlen(text) : 0;
    char *padded = text ? realloc(text, length + 8) : NULL;
    if (!padded) {
        free(text);
        return NULL;
    }
    *size = (length + 7) / 8 * 8;
    memset(padded + length, ' ', *size - length);
    return padded;
}

/* The given order, but wider elements first: then every tensor is aligned to its element, as readers that map
 * the file expect. */
static void place_tensors(const beam_weight_source *tensors, int64_t n, int64_t *order)
{
    static const size_t widths[] = {8, 4, 2, 1};
    int64_t placed = 0;
    for (size_t k = 0; k < sizeof widths / sizeof widths[0]; k++)
        for (int64_t i = 0; i < n; i++)
            if (beam_dtype_size(tensors[i].dtype) == widths[k])
                order[placed++] = i;
}

static beam_status put_tensors(beam_file_writer *w, const beam_weight_source *tensors, const int64_t *order,
                               int64_t n)
{
    uint64_t largest = 1;
    for (int64_t i = 0; i < n; i++)
        if (source_bytes(&tensors[i]) > largest)
            largest = source_bytes(&tensors[i]);
    void *buffer = malloc(largest);
    if (!buffer)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for a tensor of %llu bytes", w->path,
                         (unsigned long long)largest);
    beam_status s = BEAM_OK;
    for (int64_t i = 0; i < n && s == BEAM_OK; i++) {
        const beam_weight_source *t = &tensors[order[i]];
        s = t->fill(t->context, t->item, buffer);
        if (s == BEAM_OK)
            s = beam_file_writer_put(w, buffer, source_bytes(t));
    }
    free(buffer);
    return s;
}

static beam_status write_file(const char *path, const beam_weight_source *tensors, const int64_t *order,
                              int64_t n)
{
    beam_file_writer w;
    size_t size = 0;
    unsigned char prefix[8];
    char *header = make_header(tensors, order, n, &size);
    if (!header)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for its header", path);
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)((uint64_t)size >> 8 * i);
    beam_status s = beam_file_writer_open(&w, path);
    if (s == BEAM_OK)
        s = beam_file_writer_put(&w, prefix, sizeof prefix);
    if (s == BEAM_OK)
        s = beam_file_writer_put(&w, header, size);
    if (s == BEAM_OK)
        s = put_tensors(&w, tensors, order, n);
    if (s == BEAM_OK)
        s = beam_file_writer_commit(&w);
    else
        beam_file_writer_abort(&w);
    free(header);
    return s;
}

beam_status beam_safetensors_write(const char *path, const beam_weight_source *tensors, int64_t n)
{
    int64_t *order = malloc((size_t)(n > 0 ? n : 1) * sizeof *order);
    if (!order)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory to write %lld tensors", path, (long long)n);
    place_tensors(tensors, n, order);
    const beam_status s = write_file(path, tensors, order, n);
    free(order);
    return s;
}

/* Where the shard that starts at `first` ends: at least one tensor, at most shard_bytes. */
static int64_t shard_end(const beam_weight_source *tensors, int64_t first, int64_t n, uint64_t shard_bytes)
{
    uint64_t used = source_bytes(&tensors[first]);
    int64_t i = first + 1;
    while (i < n && used + source_bytes(&tensors[i]) <= shard_bytes)
        used += source_bytes(&tensors[i++]);
    return i;
}

static void shard_name(char name[64], int i, int shards)
{
    snprintf(name, 64, "model-%05d-of-%05d.safetensors", i + 1, shards);
}

static beam_status write_index(const char *dir, json_t *map, uint64_t total)
{
    char path[1024];
    BEAM_TRY(beam_join_path(path, sizeof path, dir, "model.safetensors.index.json"));
    json_t *root =
        json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    json_decref(root);
    if (!text)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for it", path);
    const beam_status s = beam_file_write(path, text, strlen(text));
    free(text);
    return s;
}

/* Writes shards of tensors[0..n) and notes in `map` which tensor is where; *written counts finished shards.
 */
static beam_status write_shards(const char *dir, const beam_weight_source *tensors, int64_t n,
                                uint64_t shard_bytes, int shards, json_t *map, int *written)
{
    char name[64], path[1024];
    int64_t first = 0;
    for (int i = 0; i < shards; i++) {
        const int64_t end = shard_end(tensors, first, n, shard_bytes);
        shard_name(name, i, shards);
        BEAM_TRY(beam_join_path(path, sizeof path, dir, name));
        BEAM_TRY(beam_safetensors_write(path, tensors + first, end - first));
        ++*written;
        for (; first < end; first++)
            if (json_object_set_new(map, tensors[first].name, json_string(name)) != 0)
                return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for its index", dir);
    }
    return BEAM_OK;
}

beam_status beam_safetensors_write_folder(const char *dir, const beam_weight_source *tensors, int64_t n,
                                          uint64_t shard_bytes)
{
    char name[64], path[1024];
    const uint64_t total = total_bytes(tensors, n);
    int shards = 0, written = 0;
    BEAM_TRY(beam_need_space(dir, total));
    if (total <= shard_bytes) {
        BEAM_TRY(beam_join_path(path, sizeof path, dir, "model.safetensors"));
        BEAM_TRY(beam_safetensors_write(path, tensors, n));
        return BEAM_OK;
    }
    for (int64_t i = 0; i < n; i = shard_end(tensors, i, n, shard_bytes))
        shards++;
    json_t *map = json_object();
    if (!map)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for its index", dir);
    beam_status s = write_shards(dir, tensors, n, shard_bytes, shards, map, &written);
    if (s == BEAM_OK)
        s = write_index(dir, map, total);
    json_decref(map);
    for (int i = 0; i < written && s != BEAM_OK; i++) {
        shard_name(name, i, shards);
        if (snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path)
            unlink(path); /* shards without an index are of no use */
    }
    return s;
}
