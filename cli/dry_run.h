/* beam train --dry-run: what the run would do and take. */
#ifndef BEAM_CLI_DRY_RUN_H
#define BEAM_CLI_DRY_RUN_H

#include "train/config.h"

/* Prints it on stdout; changes nothing on disk. Fails as the run would where that shows without reading the
 * weights. `tokens_per_s`: the rate of the whole job; 0: that of the run in output_dir, if there is one. */
beam_status beam_dry_run(const beam_config *c, int ranks, double tokens_per_s);

#endif
