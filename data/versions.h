/* The libraries behind this folder. */
#ifndef BEAM_DATA_VERSIONS_H
#define BEAM_DATA_VERSIONS_H

typedef struct {
    const char *library; /* "hdf5", "zstd", "jansson", "openssl" */
    char version[64];    /* of the one in use, which may be newer than the one compiled against */
} beam_library_version;

enum { BEAM_DATA_LIBRARIES = 4 };

void beam_data_versions(beam_library_version out[BEAM_DATA_LIBRARIES]);

#endif
