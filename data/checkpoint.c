/* One checkpoint: written as a whole, verified as a whole. */
#include "data/checkpoint.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/checkpoint_folder.h"
#include "data/file.h"
#include "data/hdf5_image.h"
#include "data/json.h"
#include "data/manifest.h"

/* Index of the first element that is not finite, or -1. */
static int64_t first_not_finite(beam_tensor t)
{
    const float *single = t.data;
    const double *wide = t.data;
    const int64_t n = beam_count(t);
    if (t.dtype == BEAM_F32) {
        for (int64_t i = 0; i < n; i++)
            if (!isfinite(single[i]))
                return i;
    } else if (t.dtype == BEAM_F64) {
        for (int64_t i = 0; i < n; i++)
            if (!isfinite(wide[i]))
                return i;
    }
    return -1;
}

static beam_status check_finite(const char *out_dir, int64_t step, const beam_array *arrays, int n)
{
    for (int i = 0; i < n; i++) {
        const int64_t bad = first_not_finite(arrays[i].tensor);
        if (bad >= 0)
            return BEAM_FAIL(BEAM_ENUMERIC,
                             "%s: no checkpoint of step %lld: element %lld of %s is not finite; the last "
                             "checkpoint before it is the one to use",
                             out_dir, (long long)step, (long long)bad, arrays[i].name);
    }
    return BEAM_OK;
}

static beam_status make_image(const beam_array *arrays, int n, void **image, size_t *size)
{
    beam_h5 *h5;
    BEAM_TRY(beam_h5_create(&h5));
    for (int i = 0; i < n; i++) {
        const beam_status s = beam_h5_put(h5, arrays[i].name, arrays[i].tensor);
        if (s != BEAM_OK) {
            beam_h5_close(h5);
            return s;
        }
    }
    BEAM_TRY(beam_h5_finish(h5, image, size));
    return BEAM_OK;
}

/* Creates the folder and writes the files of `content` into it, the manifest last; each is synchronised. */
static beam_status fill_folder(const char *folder, beam_manifest *m,
                               const void *const content[BEAM_CHECKPOINT_FILES])
{
    char path[BEAM_CHECKPOINT_PATH];
    if (mkdir(folder, 0777) != 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot create this folder: %s", folder, strerror(errno));
    for (int i = 0; i < BEAM_CHECKPOINT_FILES; i++) {
        BEAM_TRY(beam_join_path(path, sizeof path, folder, beam_manifest_file_name(i)));
        beam_sha256(content[i], m->file[i].size, m->file[i].sha256);
        BEAM_TRY(beam_file_write(path, content[i], m->file[i].size));
    }
    BEAM_TRY(beam_manifest_write(folder, m));
    return BEAM_OK;
}

/* The finished folder takes its place. An earlier one of the same step steps aside first: a folder cannot be
 * renamed over one that is not empty. At every moment one of the two is complete and will be found. */
static beam_status put_in_place(const char *out_dir, int64_t step, const char *finished)
{
    char place[BEAM_CHECKPOINT_PATH], aside[BEAM_CHECKPOINT_PATH];
    struct stat info;
    BEAM_TRY(beam_checkpoint_path(place, out_dir, step, 0));
    BEAM_TRY(beam_checkpoint_path(aside, out_dir, step, 'o'));
    if (lstat(place, &info) == 0 && !S_ISDIR(info.st_mode))
        return BEAM_FAIL(BEAM_EIO, "%s: exists but is not a folder; move it away", place);
    const bool replaces = rename(place, aside) == 0;
    if (!replaces && errno != ENOENT)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot be replaced: %s", place, strerror(errno));
    if (rename(finished, place) != 0) {
        const int error = errno;
        if (replaces)
            rename(aside, place);
        return BEAM_FAIL(BEAM_EIO, "%s: cannot rename the finished checkpoint to this name: %s", place,
                         strerror(error));
    }
    BEAM_TRY(beam_sync_folder(out_dir));
    if (replaces)
        BEAM_TRY(beam_remove_folder(aside));
    return BEAM_OK;
}

/* Removes a folder after a failure, whose message stays the last error. */
static beam_status remove_after(beam_status failure, const char *folder)
{
    char message[2048];
    snprintf(message, sizeof message, "%s", beam_last_error());
    if (beam_remove_folder(folder) != BEAM_OK)
        return BEAM_FAIL(failure, "%s", message);
    return failure;
}

beam_status beam_checkpoint_write(const char *out_dir, const beam_checkpoint_state *state,
                                  const beam_array *arrays, int n, const char *config_text)
{
    char folder[BEAM_CHECKPOINT_PATH];
    void *image = NULL;
    size_t size = 0;
    BEAM_ASSERT(state->step >= 0);
    BEAM_TRY(check_finite(out_dir, state->step, arrays, n));
    BEAM_TRY(beam_make_folder(out_dir));
    BEAM_TRY(beam_checkpoint_clean(out_dir));
    BEAM_TRY(beam_checkpoint_path(folder, out_dir, state->step, 't'));
    BEAM_TRY(make_image(arrays, n, &image, &size));

    beam_manifest m = {.state = *state};
    m.file[BEAM_STATE_H5].size = size;
    m.file[BEAM_CONFIG_YAML].size = strlen(config_text);
    const void *const content[] = {[BEAM_STATE_H5] = image, [BEAM_CONFIG_YAML] = config_text};
    beam_status s = beam_need_space(out_dir, size + size / 5 + strlen(config_text) + (1 << 20));
    if (s == BEAM_OK) {
        s = fill_folder(folder, &m, content);
        if (s == BEAM_OK)
            s = put_in_place(out_dir, state->step, folder);
        if (s != BEAM_OK)
            s = remove_after(s, folder);
    }
    free(image);
    return s;
}

static beam_status damaged(const char *path, const char *why)
{
    return BEAM_FAIL(BEAM_EMODEL, "%s: damaged: %s", path, why);
}

/* The path of one file of the checkpoint, once it is there with the size that the manifest gives. */
static beam_status locate(char path[BEAM_CHECKPOINT_PATH], const char *folder, const beam_manifest *m,
                          int file)
{
    struct stat info;
    BEAM_TRY(beam_join_path(path, BEAM_CHECKPOINT_PATH, folder, beam_manifest_file_name(file)));
    if (lstat(path, &info) != 0)
        return damaged(path, "the manifest names this file, but it is missing");
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size != m->file[file].size)
        return damaged(path, "its size is not the one in the manifest");
    return BEAM_OK;
}

static beam_status compare_hash(const char *path, const beam_manifest *m, int file,
                                const char hex[BEAM_SHA256_HEX])
{
    if (strcmp(hex, m->file[file].sha256) != 0)
        return damaged(path, "its SHA-256 is not the one in the manifest");
    return BEAM_OK;
}

/* Hashes a file in pieces: a checkpoint may be as large as the memory. */
static beam_status verify_file(const char *folder, const beam_manifest *m, int file)
{
    char path[BEAM_CHECKPOINT_PATH], hex[BEAM_SHA256_HEX];
    BEAM_TRY(locate(path, folder, m, file));
    BEAM_TRY(beam_sha256_file(path, hex));
    BEAM_TRY(compare_hash(path, m, file, hex));
    return BEAM_OK;
}

beam_status beam_checkpoint_read_state(const char *path, beam_checkpoint_state *state)
{
    beam_manifest m;
    BEAM_TRY(beam_manifest_read(path, &m));
    for (int i = 0; i < BEAM_CHECKPOINT_FILES; i++)
        BEAM_TRY(verify_file(path, &m, i));
    *state = m.state;
    return BEAM_OK;
}

/* Verifies everything and opens state.h5 from the very bytes that were hashed. The caller closes *h5 and
 * frees *image, in this order, also after a failure. */
static beam_status open_verified(const char *folder, beam_manifest *m, char **image, beam_h5 **h5)
{
    char path[BEAM_CHECKPOINT_PATH], hex[BEAM_SHA256_HEX];
    size_t size;
    *image = NULL;
    *h5 = NULL;
    BEAM_TRY(beam_manifest_read(folder, m));
    BEAM_TRY(verify_file(folder, m, BEAM_CONFIG_YAML));
    BEAM_TRY(locate(path, folder, m, BEAM_STATE_H5));
    BEAM_TRY(beam_file_read(path, m->file[BEAM_STATE_H5].size, image, &size));
    beam_sha256(*image, size, hex);
    BEAM_TRY(compare_hash(path, m, BEAM_STATE_H5, hex));
    BEAM_TRY(beam_h5_open(*image, size, path, BEAM_EMODEL, h5));
    return BEAM_OK;
}

/* `all`: there must be no others. */
static beam_status read_arrays(const char *path, beam_h5 *h5, const beam_array *arrays, int n, bool all)
{
    for (int i = 0; i < n; i++) {
        beam_tensor there;
        BEAM_TRY(beam_h5_shape(h5, arrays[i].name, &there));
        if (there.dtype != arrays[i].tensor.dtype || !beam_same_shape(there, arrays[i].tensor))
            return BEAM_FAIL(BEAM_EMODEL,
                             "%s: %s has another shape or type than this run needs; was the checkpoint made "
                             "with another model or configuration?",
                             path, arrays[i].name);
    }
    if (all && beam_h5_count(h5) != n)
        return BEAM_FAIL(BEAM_EMODEL,
                         "%s: holds %d arrays, this run has %d; was the checkpoint made with another model "
                         "or configuration?",
                         path, beam_h5_count(h5), n);
    for (int i = 0; i < n; i++)
        BEAM_TRY(beam_h5_get(h5, arrays[i].name, arrays[i].tensor));
    return BEAM_OK;
}

static beam_status read_checkpoint(const char *path, beam_checkpoint_state *state, const beam_array *arrays,
                                   int n, bool all)
{
    beam_manifest m;
    char *image;
    beam_h5 *h5;
    beam_status s = open_verified(path, &m, &image, &h5);
    if (s == BEAM_OK)
        s = read_arrays(path, h5, arrays, n, all);
    if (s == BEAM_OK)
        *state = m.state;
    beam_h5_close(h5);
    free(image);
    return s;
}

beam_status beam_checkpoint_read(const char *path, beam_checkpoint_state *state, const beam_array *arrays,
                                 int n)
{
    return read_checkpoint(path, state, arrays, n, true);
}

beam_status beam_checkpoint_read_some(const char *path, beam_checkpoint_state *state,
                                      const beam_array *arrays, int n)
{
    return read_checkpoint(path, state, arrays, n, false);
}

/* One {name, dtype, shape} per array. */
static void describe_arrays(const beam_h5 *h5, json_t *list)
{
    for (int i = 0; i < beam_h5_count(h5); i++) {
        const char *name;
        beam_tensor t;
        beam_h5_at(h5, i, &name, &t);
        json_t *shape = json_array();
        for (int d = 0; d < t.ndim; d++)
            json_array_append_new(shape, json_integer(t.dim[d]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", name, "dtype",
                                              beam_dtype_name(t.dtype), "shape", shape));
    }
}

/* A number, or null where JSON has none (NaN, infinity). */
static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *describe_state(const char *path, const beam_manifest *m, json_t *arrays)
{
    char hash[3][17];
    const beam_checkpoint_state *s = &m->state;
    const uint64_t bits[3] = {s->model_hash, s->data_hash, s->config_hash};
    for (int i = 0; i < 3; i++)
        snprintf(hash[i], sizeof hash[i], "%016llx", (unsigned long long)bits[i]);
    json_t *files = json_array();
    for (int i = 0; i < BEAM_CHECKPOINT_FILES; i++)
        json_array_append_new(files, json_pack("{s:s, s:I, s:s}", "name", beam_manifest_file_name(i), "size",
                                               (json_int_t)m->file[i].size, "sha256", m->file[i].sha256));
    return json_pack(
        "{s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:s, s:s, s:o, "
        "s:O}",
        "kind", "checkpoint", "path", path, "verified", 1, "step", (json_int_t)s->step, "rows",
        (json_int_t)s->rows, "tokens", (json_int_t)s->tokens, "skipped", (json_int_t)s->skipped,
        "skipped_in_a_row", (json_int_t)s->skipped_in_a_row, "penalty", number(s->penalty), "average_active",
        number(s->average_active), "seconds", number(s->seconds), "best_loss", number(s->best_loss),
        "eval_loss", number(s->eval_loss), "model", s->model, "model_hash", hash[0], "data_hash", hash[1],
        "config_hash", hash[2], "files", files, "arrays", arrays);
}

beam_status beam_checkpoint_describe(const char *path, char **json)
{
    beam_manifest m;
    char *image;
    beam_h5 *h5;
    *json = NULL;
    json_t *arrays = json_array();
    beam_status s = open_verified(path, &m, &image, &h5);
    if (s == BEAM_OK) {
        describe_arrays(h5, arrays);
        json_t *all = describe_state(path, &m, arrays);
        *json = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
        json_decref(all);
        if (!*json)
            s = BEAM_FAIL(BEAM_ENOMEM, "%s: no memory to describe it", path);
    }
    json_decref(arrays);
    beam_h5_close(h5);
    free(image);
    return s;
}
