/* HDF5 files made to harm, with a correct seal: what a token file would be, but for its array `ids`. */
#ifndef BEAM_TESTS_DATA_HDF5_ATTACKS_H
#define BEAM_TESTS_DATA_HDF5_ATTACKS_H

#include <hdf5.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HDF5_IDS = 32768, /* of the array `ids` in most files: 128 KiB */
    HDF5_UNKNOWN_FILTER = 40000,
};

typedef struct {
    const char *name;
    void (*fill)(hid_t file); /* puts the ids into the file */
    const char *message;      /* NULL: harmless */
} hdf5_attack;

/* Ends with a row whose name is NULL. The first one is harmless. */
extern const hdf5_attack hdf5_attacks[];

/* What the ids of a harmless file are. Call once before all else, in a scratch folder. */
const int32_t *hdf5_attacks_prepare(void);

/* The sealed file in new memory (the caller frees it). */
unsigned char *hdf5_attack_make(void (*fill)(hid_t file), size_t *size);

#endif
