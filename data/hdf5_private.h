/* What the parts of the HDF5 images share: writing (hdf5_image.c), reading (hdf5_read.c) and what reading
 * refuses (hdf5_check.c). Nobody else includes this. */
#ifndef BEAM_DATA_HDF5_PRIVATE_H
#define BEAM_DATA_HDF5_PRIVATE_H

#include <hdf5.h>

#include "data/hdf5_image.h"

enum {
    BEAM_H5_GROWTH = 1 << 24, /* bytes by which an image under construction grows */
    BEAM_H5_SEAL = 512,       /* bytes of the seal */
    BEAM_H5_IMAGE_NAME = 64,
};

typedef struct {
    char *name;
    beam_tensor shape;  /* data is NULL */
    size_t chunk_bytes; /* decoded; 0 if the array is not chunked */
} beam_h5_entry;

struct beam_h5 {
    hid_t file;
    char path[1024];   /* for messages */
    beam_status error; /* of damage */

    /* writing */
    void *built;     /* the finished bytes, once the file is closed */
    size_t capacity; /* bytes of the memory HDF5 works in */

    /* reading */
    void *image;       /* the caller's bytes, never written */
    beam_h5_entry *at; /* all arrays, sorted by name */
    int n, room;
    beam_status status; /* what listing the arrays came to */
};

/* A handle over HDF5 made silent, without plugins and with our filter. */
beam_status beam_h5_new(const char *path, beam_status error, beam_h5 **out);

/* HDF5 takes two images of one name for the same file, so each is named after its handle. */
void beam_h5_image_name(const beam_h5 *f, char name[BEAM_H5_IMAGE_NAME]);

/* HDF5 copies and frees the context of its callbacks; ours is the handle, which stays. */
void *beam_h5_share(void *f);
herr_t beam_h5_unshare(void *f);

/* The seal of an image, which is its first bytes (HDF5 leaves them alone: its "user block"): the SHA-256 of
 * all that follows them. It is compared before HDF5 sees the image, because the library crashes on damaged
 * files. */
void beam_h5_write_seal(const unsigned char *image, size_t size, unsigned char seal[BEAM_H5_SEAL]);

/* The type of array elements in a file, and in memory; negative for dtypes that are not stored. */
hid_t beam_h5_stored_type(beam_dtype t);
hid_t beam_h5_memory_type(beam_dtype t);

/* Judges an open data set before anything of it is read, and fills in its shape and chunk size. Returns NULL,
 * or why it is refused. */
const char *beam_h5_check(hid_t set, beam_h5_entry *e);

#endif
