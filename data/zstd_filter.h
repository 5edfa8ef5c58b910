/* HDF5's filter 32015 (Zstandard), registered in this process: no plugin file is needed or loaded.
 *
 * Writing adds zstd's frame checksum. Reading accepts a chunk only if it decodes to exactly the size
 * announced with beam_zstd_expect: HDF5 itself copies a whole chunk out of whatever a filter returned,
 * however short. */
#ifndef BEAM_DATA_ZSTD_FILTER_H
#define BEAM_DATA_ZSTD_FILTER_H

#include <stddef.h>

#include "core/status.h"

enum {
    BEAM_ZSTD_FILTER = 32015,      /* id in the HDF Group's registry; client data [0] is the level */
    BEAM_ZSTD_LEVEL = 3,           /* used if a file names none */
    BEAM_ZSTD_CHUNK_MAX = 1 << 26, /* bytes of a decoded chunk: 64 MiB */
};

/* Makes HDF5 know the filter; repeating it is fine. */
beam_status beam_zstd_register(void);

/* Decoded bytes of the chunks this thread reads next; 0: refuse every chunk. */
void beam_zstd_expect(size_t bytes);

#endif
