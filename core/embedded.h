/* Files of the source tree that the program carries along (cmake/BeamEmbed.cmake). */
#ifndef BEAM_CORE_EMBEDDED_H
#define BEAM_CORE_EMBEDDED_H

#include <stddef.h>

typedef struct {
    const char *path; /* in the source tree */
    const unsigned char *bytes;
    size_t size;
} beam_embedded;

#endif
