/* manifest.json of a checkpoint: the size and SHA-256 of its files, its scalars, and its own SHA-256, so that
 * not one bit of a checkpoint can change unnoticed. */
#ifndef BEAM_DATA_MANIFEST_H
#define BEAM_DATA_MANIFEST_H

#include "data/checkpoint.h"
#include "data/file.h"

/* The files of a checkpoint besides the manifest, in the order of beam_manifest.file. */
enum { BEAM_STATE_H5, BEAM_CONFIG_YAML, BEAM_CHECKPOINT_FILES };

typedef struct {
    beam_checkpoint_state state;
    struct {
        uint64_t size;
        char sha256[BEAM_SHA256_HEX];
    } file[BEAM_CHECKPOINT_FILES];
} beam_manifest;

/* "state.h5", "config.yaml". */
const char *beam_manifest_file_name(int file);

/* Writes folder/manifest.json with the guarantees of beam_file_write. Doubles are kept bit for bit. */
beam_status beam_manifest_write(const char *folder, const beam_manifest *m);

/* Reads folder/manifest.json and checks it against itself; the files it names are not looked at. BEAM_EMODEL
 * if it is absent, damaged or of another version. */
beam_status beam_manifest_read(const char *folder, beam_manifest *out);

#endif
