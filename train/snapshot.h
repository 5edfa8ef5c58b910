/* Parameters on their way to or from a checkpoint: the list of arrays, by name, with host memory for all of
 * them. */
#ifndef BEAM_TRAIN_SNAPSHOT_H
#define BEAM_TRAIN_SNAPSHOT_H

#include "core/param.h"
#include "data/checkpoint.h"
#include "kernels/ops.h"

typedef struct {
    beam_array *arrays;  /* [n] in host memory: value/NAME, adam_m/NAME, adam_v/NAME */
    beam_tensor *device; /* [n] where each one lives */
    int n;
    char (*names)[BEAM_NAME_MAX + 16];
    char *host;
} beam_snapshot;

/* Lists the values of the parameters that have one of `flags` (0: of all), and their moments unless m and v
 * ([params.n]) are NULL. Host memory is uninitialised. On failure nothing is left to free. */
beam_status beam_snapshot_open(beam_snapshot *s, beam_params params, unsigned flags, const beam_tensor *m,
                               const beam_tensor *v);
void beam_snapshot_close(beam_snapshot *s);

/* Between device and host. Both wait. */
beam_status beam_snapshot_download(const beam_snapshot *s, beam_backend *be);
beam_status beam_snapshot_upload(const beam_snapshot *s, beam_backend *be);

#endif
