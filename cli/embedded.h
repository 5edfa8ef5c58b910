/* Files of the source tree that the program carries along (cmake/BeamEmbed.cmake). */
#ifndef BEAM_CLI_EMBEDDED_H
#define BEAM_CLI_EMBEDDED_H

#include <stddef.h>

typedef struct {
    const char *path; /* in the source tree */
    const unsigned char *bytes;
    size_t size;
} beam_embedded;

/* The launchers of scripts/launch for one machine and for Slurm, and what these read. */
extern const beam_embedded beam_launchers[];
extern const int beam_launchers_n;

/* cli/completion: beam.bash, beam.zsh. */
extern const beam_embedded beam_completions[];
extern const int beam_completions_n;

#endif
