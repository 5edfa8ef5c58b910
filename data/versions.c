#include "data/versions.h"

#include <hdf5.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <zstd.h>

static void set(beam_library_version *v, const char *library, const char *version)
{
    v->library = library;
    snprintf(v->version, sizeof v->version, "%s", version);
}

void beam_data_versions(beam_library_version out[BEAM_DATA_LIBRARIES])
{
    unsigned major = 0, minor = 0, release = 0;
    char hdf5[32] = "unknown";
    if (H5get_libversion(&major, &minor, &release) >= 0)
        snprintf(hdf5, sizeof hdf5, "%u.%u.%u", major, minor, release);
    set(&out[0], "hdf5", hdf5);
    set(&out[1], "zstd", ZSTD_versionString());
    set(&out[2], "jansson", jansson_version_str());
    set(&out[3], "openssl", OpenSSL_version(OPENSSL_VERSION));
}
