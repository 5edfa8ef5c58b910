/* Parameters on their way to or from a checkpoint: the list of arrays, by name, with host memory for all of
 * them. */
#ifndef BEAM_TRAIN_SNAPSHOT_H
#define BEAM_TRAIN_SNAPSHOT_H

#include "core/param.h"
#include "data/checkpoint.h"
#include "kernels/ops.h"

/* What an array holds of its parameter. */
typedef enum { BEAM_SNAPSHOT_VALUE, BEAM_SNAPSHOT_MOMENT1, BEAM_SNAPSHOT_MOMENT2 } beam_snapshot_kind;

typedef struct {
    beam_array *arrays;       /* [n] wide, in host memory: value/NAME, adam_m/NAME, adam_v/NAME */
    beam_tensor *device;      /* [n] where each one passes: values where they live, moments through the
                                 gradients */
    beam_snapshot_kind *kind; /* [n] */
    int n;
    char (*names)[BEAM_NAME_MAX + 16];
    char *host; /* all arrays, one behind the other */
    size_t bytes;
} beam_snapshot;

/* Lists the values of the parameters that have one of `flags` (0: of all), and `moments` of them. Host memory
 * is uninitialised. On failure nothing is left to free. */
beam_status beam_snapshot_open(beam_snapshot *s, beam_params params, unsigned flags, bool moments);
void beam_snapshot_close(beam_snapshot *s);

/* The arrays of a kind, between device and host. Moments are those in the gradients' places then. Both wait.
 * Values that are bfloat16 on the device are rounded on their way there; none of them comes back. */
beam_status beam_snapshot_download(const beam_snapshot *s, beam_snapshot_kind kind, beam_backend *be);
beam_status beam_snapshot_upload(const beam_snapshot *s, beam_snapshot_kind kind, beam_backend *be);

#endif
