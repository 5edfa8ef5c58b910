/* AdamW over named parameters: first and second moments for everything that trains. */
#ifndef BEAM_OPTIM_ADAMW_H
#define BEAM_OPTIM_ADAMW_H

#include "core/param.h"
#include "kernels/ops.h"

typedef struct {
    beam_params params; /* the model's */
    beam_tensor *m, *v; /* [params.n]; data is NULL for frozen parameters */
    void *block;        /* device memory of all moments */
    size_t bytes;
} beam_adamw_state;

/* Bytes of the moments that beam_adamw_open would allocate; the parameters need no memory. */
size_t beam_adamw_bytes(beam_params params);

/* Moments start at zero. On failure nothing is left to free. */
beam_status beam_adamw_open(beam_adamw_state *s, beam_params params, beam_backend *be);
void beam_adamw_close(beam_adamw_state *s, beam_backend *be);

/* One update of every trainable parameter. Weight decay of `args` applies to parameters with BEAM_DECAY only.
 */
void beam_adamw_step(beam_adamw_state *s, beam_backend *be, const beam_adamw_args *args);

#endif
