/* The reading half of data/safetensors.h: files are opened once, without following links, and stay open, so
 * that what was checked is what is read. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bf16.h"
#include "data/file.h"
#include "data/json.h"
#include "data/safetensors_header.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors data is used as it is in the file");

enum { MAX_SHARDS = 512, INDEX_LIMIT = 1 << 25 };

typedef struct {
    char *path;
    int fd;
} shard;

struct beam_weights {
    shard *shard;
    int shards;
    beam_weight_list list; /* sorted by name */
};

void beam_weights_close(beam_weights *w)
{
    if (!w)
        return;
    for (int i = 0; i < w->shards; i++) {
        close(w->shard[i].fd);
        free(w->shard[i].path);
    }
    free(w->shard);
    beam_weight_list_free(&w->list);
    free(w);
}

/* Opens `name` inside the folder `dirfd` (or a path, with AT_FDCWD) and appends its tensors. */
static beam_status add_shard(beam_weights *w, int dirfd, const char *folder, const char *name)
{
    char path[1024];
    if (dirfd == AT_FDCWD)
        BEAM_TRY(beam_join_path(path, sizeof path, "", name));
    else
        BEAM_TRY(beam_join_path(path, sizeof path, folder, name));
    /* The user may name a link; a name from inside a model folder must not lead out of it. */
    const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (dirfd == AT_FDCWD ? 0 : O_NOFOLLOW);
    const int fd = openat(dirfd, name, flags);
    if (fd < 0 && errno == ELOOP)
        return BEAM_FAIL(BEAM_EMODEL,
                         "%s: is a symbolic link; links inside a model folder are not followed: copy the "
                         "files (huggingface-cli download --local-dir)",
                         path);
    if (fd < 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot open: %s", path, strerror(errno));
    shard *grown = realloc(w->shard, (size_t)(w->shards + 1) * sizeof *grown);
    if (grown)
        w->shard = grown;
    char *copy = strdup(path);
    if (!grown || !copy) {
        free(copy);
        close(fd);
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory to open it", path);
    }
    w->shard[w->shards++] = (shard){.path = copy, .fd = fd};
    BEAM_TRY(beam_safetensors_read_header(fd, path, w->shards - 1, &w->list));
    return BEAM_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const beam_weight *)a)->name, ((const beam_weight *)b)->name);
}

static beam_status sort_by_name(beam_weights *w)
{
    if (w->list.n > 0)
        qsort(w->list.at, (size_t)w->list.n, sizeof *w->list.at, by_name);
    for (int64_t i = 1; i < w->list.n; i++)
        if (strcmp(w->list.at[i - 1].name, w->list.at[i].name) == 0)
            return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s is also in %s", beam_weights_file(w, &w->list.at[i]),
                             w->list.at[i].name, beam_weights_file(w, &w->list.at[i - 1]));
    return BEAM_OK;
}

/* [A-Za-z0-9._-]+\.safetensors: a plain name that cannot leave the folder. */
static bool plain_shard_name(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    static const char suffix[] = ".safetensors";
    const size_t n = strlen(name), tail = sizeof suffix - 1;
    return n > tail && n < 256 && strspn(name, allowed) == n && strcmp(name + n - tail, suffix) == 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct shard names of a weight_map, sorted, into name[] of at least json_object_size(map) entries. */
static beam_status shard_names(const char *index, json_t *map, const char **name, size_t *count)
{
    size_t n = 0, distinct = 0;
    const char *tensor;
    json_t *value;
    char found[64];
    json_object_foreach(map, tensor, value)
    {
        if (!json_is_string(value) || !plain_shard_name(json_string_value(value)))
            return BEAM_FAIL(BEAM_EMODEL,
                             "%s: weight_map names the file %s; a plain name ending in .safetensors is "
                             "expected",
                             index, beam_json_show(value, found));
        name[n++] = json_string_value(value);
    }
    qsort(name, n, sizeof *name, by_text);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(name[distinct - 1], name[i]) != 0)
            name[distinct++] = name[i];
    *count = distinct;
    if (distinct > MAX_SHARDS)
        return BEAM_FAIL(BEAM_EMODEL, "%s: weight_map names %zu files; at most %d are accepted", index,
                         distinct, MAX_SHARDS);
    return BEAM_OK;
}

/* Every tensor of the shards is in the index under its file, and nothing else is. */
static beam_status check_index(const beam_weights *w, const char *index, const json_t *map)
{
    for (int64_t i = 0; i < w->list.n; i++) {
        const beam_weight *t = &w->list.at[i];
        const char *path = beam_weights_file(w, t), *slash = strrchr(path, '/');
        const char *wanted = json_string_value(json_object_get(map, t->name));
        if (!wanted || strcmp(wanted, slash ? slash + 1 : path) != 0)
            return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s is in %s, but weight_map says %s", index, t->name,
                             path, wanted ? wanted : "nothing about it");
    }
    if ((size_t)w->list.n == json_object_size(map))
        return BEAM_OK;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)map, name, value) if (!beam_weights_find(w, name)) return BEAM_FAIL(
        BEAM_EMODEL, "%s: weight_map has the tensor %.160s, but %s does not", index, name,
        json_string_value(value));
    return BEAM_OK;
}

static beam_status open_mapped(beam_weights *w, int dirfd, const char *folder, const char *index, json_t *map)
{
    size_t n = 0;
    if (!json_is_object(map) || json_object_size(map) == 0)
        return BEAM_FAIL(BEAM_EMODEL, "%s: \"weight_map\" is missing, empty or not an object", index);
    const char **name = malloc(json_object_size(map) * sizeof *name);
    if (!name)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for its list of files", index);
    beam_status s = shard_names(index, map, name, &n);
    for (size_t i = 0; i < n && s == BEAM_OK; i++)
        s = add_shard(w, dirfd, folder, name[i]);
    free(name);
    BEAM_TRY(s);
    BEAM_TRY(sort_by_name(w));
    BEAM_TRY(check_index(w, index, map));
    return BEAM_OK;
}

static beam_status open_folder(beam_weights *w, int dirfd, const char *folder)
{
    static const char single[] = "model.safetensors", index_name[] = "model.safetensors.index.json";
    char index[1024];
    json_t *root;
    struct stat info;
    if (fstatat(dirfd, single, &info, AT_SYMLINK_NOFOLLOW) == 0) {
        BEAM_TRY(add_shard(w, dirfd, folder, single));
        BEAM_TRY(sort_by_name(w));
        return BEAM_OK;
    }
    if (fstatat(dirfd, index_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return BEAM_FAIL(BEAM_EMODEL, "%s: holds neither %s nor %s; is it a model folder?", folder, single,
                         index_name);
    BEAM_TRY(beam_join_path(index, sizeof index, folder, index_name));
    if (S_ISLNK(info.st_mode))
        return BEAM_FAIL(BEAM_EMODEL, "%s: is a symbolic link; links inside a model folder are not followed",
                         index);
    BEAM_TRY(beam_json_read(index, INDEX_LIMIT, BEAM_EMODEL, &root));
    const beam_status s = open_mapped(w, dirfd, folder, index, json_object_get(root, "weight_map"));
    json_decref(root);
    return s;
}

static beam_status open_path(beam_weights *w, const char *path)
{
    if (!beam_folder_exists(path)) {
        BEAM_TRY(add_shard(w, AT_FDCWD, "", path));
        BEAM_TRY(sort_by_name(w));
        return BEAM_OK;
    }
    const int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot open this folder: %s", path, strerror(errno));
    const beam_status s = open_folder(w, dirfd, path);
    close(dirfd);
    return s;
}

beam_status beam_weights_open(const char *path, beam_weights **out)
{
    *out = NULL;
    beam_weights *w = calloc(1, sizeof *w);
    if (!w)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory to open it", path);
    const beam_status s = open_path(w, path);
    if (s != BEAM_OK) {
        beam_weights_close(w);
        return s;
    }
    *out = w;
    return BEAM_OK;
}

int64_t beam_weights_count(const beam_weights *w)
{
    return w->list.n;
}

const beam_weight *beam_weights_at(const beam_weights *w, int64_t i)
{
    BEAM_ASSERT(i >= 0 && i < w->list.n);
    return &w->list.at[i];
}

const beam_weight *beam_weights_find(const beam_weights *w, const char *name)
{
    const beam_weight wanted = {.name = name};
    if (w->list.n == 0)
        return NULL;
    return bsearch(&wanted, w->list.at, (size_t)w->list.n, sizeof wanted, by_name);
}

const char *beam_weights_file(const beam_weights *w, const beam_weight *t)
{
    return w->shard[t->file].path;
}

beam_status beam_weights_read_raw_at(const beam_weights *w, const beam_weight *t, int64_t first,
                                     int64_t count, void *out)
{
    const uint64_t size = beam_dtype_size(t->dtype), all = t->bytes / size;
    BEAM_ASSERT(first >= 0 && count >= 0 && (uint64_t)first <= all &&
                (uint64_t)count <= all - (uint64_t)first);
    return beam_read_at(w->shard[t->file].fd, w->shard[t->file].path, t->offset + (uint64_t)first * size, out,
                        (uint64_t)count * size);
}

beam_status beam_weights_read_raw(const beam_weights *w, const beam_weight *t, void *out)
{
    return beam_weights_read_raw_at(w, t, 0, (int64_t)(t->bytes / beam_dtype_size(t->dtype)), out);
}

static void to_f32(beam_dtype dtype, const void *from, float *to, size_t n)
{
    const uint16_t *half = from;
    const double *wide = from;
    if (dtype == BEAM_BF16)
        for (size_t i = 0; i < n; i++)
            to[i] = beam_bf16_to_f32(half[i]);
    else if (dtype == BEAM_F16)
        for (size_t i = 0; i < n; i++)
            to[i] = beam_f16_to_f32(half[i]);
    else
        for (size_t i = 0; i < n; i++)
            to[i] = (float)wide[i];
}

beam_status beam_weights_read_f32_at(const beam_weights *w, const beam_weight *t, int64_t first,
                                     int64_t count, float *out)
{
    enum { PIECE = 1 << 13 }; /* elements: stays in the cache between reading and converting */
    if (t->dtype == BEAM_F32)
        return beam_weights_read_raw_at(w, t, first, count, out);
    if (t->dtype != BEAM_BF16 && t->dtype != BEAM_F16 && t->dtype != BEAM_F64)
        return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s: has dtype %s where a floating-point one is expected",
                         beam_weights_file(w, t), t->name, beam_dtype_name(t->dtype));
    _Alignas(8) char piece[PIECE * sizeof(double)];
    for (int64_t at = 0; at < count; at += PIECE) {
        const int64_t n = count - at < PIECE ? count - at : PIECE;
        BEAM_TRY(beam_weights_read_raw_at(w, t, first + at, n, piece));
        to_f32(t->dtype, piece, out + at, (size_t)n);
    }
    return BEAM_OK;
}

beam_status beam_weights_read_f32(const beam_weights *w, const beam_weight *t, float *out)
{
    return beam_weights_read_f32_at(w, t, 0, (int64_t)(t->bytes / beam_dtype_size(t->dtype)), out);
}
