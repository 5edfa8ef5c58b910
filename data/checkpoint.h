/* Checkpoints: a folder checkpoint-000500/ with state.h5 (HDF5, zstd with checksums) and manifest.json
 * (SHA-256 of every file), complete or absent: written beside its place, synchronised, renamed. Reading
 * accepts only what the manifest vouches for; HDF5 never parses a file whose hash does not match. */
#ifndef BEAM_DATA_CHECKPOINT_H
#define BEAM_DATA_CHECKPOINT_H

#include <stdbool.h>

#include "core/status.h"
#include "core/tensor.h"

/* One array of a checkpoint; host memory of the caller. The name may hold '/' and '.'. */
typedef struct {
    const char *name;
    beam_tensor tensor; /* f32, f64, i32, i64 or u8 */
} beam_array;

/* Scalars and identity of a checkpoint: everything that is not an array. */
typedef struct {
    int64_t step;    /* finished optimizer steps */
    int64_t rows;    /* samples consumed */
    int64_t tokens;  /* target tokens consumed */
    int64_t skipped; /* steps skipped for a non-finite loss or gradient */
    int64_t skipped_in_a_row;
    double penalty;        /* remembered part of the controller's beta */
    double average_active; /* its moving average of Avg-K; < 0: none yet */
    double seconds;        /* training time so far */
    double best_loss;      /* best evaluation loss so far; < 0: none yet */
    double eval_loss;      /* of this very step; < 0: not evaluated, NaN: not known (an older file) */
    uint64_t model_hash, data_hash, config_hash; /* resuming with another one is refused */
    char model[512];                             /* model_name_or_path, for export */
} beam_checkpoint_state;

/* Writes out_dir/checkpoint-NNNNNN. Checks the free space first. BEAM_EIO with nothing left behind on any
 * failure, BEAM_ENUMERIC (and no checkpoint) if an array holds a non-finite value. config_text is stored as
 * config.yaml. */
beam_status beam_checkpoint_write(const char *out_dir, const beam_checkpoint_state *state,
                                  const beam_array *arrays, int n, const char *config_text);

/* The newest complete checkpoint of out_dir into path[size]; an incomplete or damaged one is passed over with
 * a warning. *found = false if there is none. */
beam_status beam_checkpoint_newest(const char *out_dir, char *path, size_t size, bool *found);

/* Verifies `path` against its manifest and reads the state. BEAM_EMODEL if it is damaged or not a checkpoint.
 */
beam_status beam_checkpoint_read_state(const char *path, beam_checkpoint_state *state);

/* Reads every array into the caller's memory: all must be there with the same dtype and shape, and there must
 * be no others. BEAM_EMODEL otherwise. Verifies first. */
beam_status beam_checkpoint_read(const char *path, beam_checkpoint_state *state, const beam_array *arrays,
                                 int n);

/* The same for some of the arrays: the checkpoint may hold others. */
beam_status beam_checkpoint_read_some(const char *path, beam_checkpoint_state *state,
                                      const beam_array *arrays, int n);

/* Keeps the newest `limit` (>= 2) complete checkpoints of out_dir, the one of step `keep` (< 0: none), and
 * the one with the least evaluation loss of those that were evaluated. Complete means here: an intact
 * manifest and files of its sizes; nothing is hashed again. */
beam_status beam_checkpoint_prune(const char *out_dir, int limit, int64_t keep);

/* Re-hashes everything the manifest names and prints what the checkpoint holds, as one JSON object, into a
 * newly allocated string (the caller frees it). */
beam_status beam_checkpoint_describe(const char *path, char **json);

/* Takes the lock of out_dir (created if missing), or BEAM_EIO saying which process holds it. */
beam_status beam_run_lock(const char *out_dir, int *fd);

/* For its holder: takes it anew, with a warning, where out_dir or the lock in it was removed or moved. */
beam_status beam_run_lock_keep(const char *out_dir, int *fd);
void beam_run_unlock(int fd);

#endif
