/* What the verbs carry along. */
#ifndef BEAM_CLI_EMBEDDED_H
#define BEAM_CLI_EMBEDDED_H

#include "core/embedded.h"

/* The launchers of scripts/launch for one machine and for Slurm, and what these read. */
extern const beam_embedded beam_launchers[];
extern const int beam_launchers_n;

/* cli/completion: beam.bash, beam.zsh. */
extern const beam_embedded beam_completions[];
extern const int beam_completions_n;

#endif
