/* AdamW over named parameters, for all of the block of what trains or for a rank's own spans of it: first and
 * second moments exist for these elements only. */
#ifndef BEAM_OPTIM_ADAMW_H
#define BEAM_OPTIM_ADAMW_H

#include "core/param.h"
#include "core/span.h"
#include "kernels/ops.h"

typedef struct {
    beam_params params; /* the model's */
    beam_tensor grads;  /* wide [n]: the block that holds the gradients of all that trains */
    beam_span *spans;   /* of that block: what is updated here */
    int n_spans;
    double base_rate; /* of the learning rate, for all but BEAM_MASK_GATE; 1 after open */
    beam_tensor m, v; /* wide [elements of the spans], one span behind the other */
    void *block;      /* device memory of both */
    size_t bytes;
} beam_adamw_state;

/* Which of the two moments. */
typedef enum { BEAM_MOMENT_FIRST, BEAM_MOMENT_SECOND } beam_moment;

/* Bytes of the moments that beam_adamw_open would allocate. */
size_t beam_adamw_bytes(const beam_span *spans, int n_spans, beam_dtype real);

/* For the elements in `spans` (copied; disjoint, maybe none) of the block `grads`, in which the gradients of
 * `params` stand. Moments start at zero. On failure nothing is left to free. */
beam_status beam_adamw_open(beam_adamw_state *s, beam_params params, beam_tensor grads,
                            const beam_span *spans, int n_spans, beam_backend *be);

/* For all of the block. */
beam_status beam_adamw_open_whole(beam_adamw_state *s, beam_params params, beam_tensor grads,
                                  beam_backend *be);
void beam_adamw_close(beam_adamw_state *s, beam_backend *be);

/* One update of every element of the spans. Weight decay of `args` applies to parameters with BEAM_DECAY
 * only, its learning rate to those with BEAM_MASK_GATE; others have base_rate times it. */
void beam_adamw_step(beam_adamw_state *s, beam_backend *be, const beam_adamw_args *args);

/* Writes the spans of a block of the layout of `grads` from a moment, and a moment from the spans of such a
 * block. */
void beam_adamw_give(const beam_adamw_state *s, beam_backend *be, beam_moment which, beam_tensor block);
void beam_adamw_take(beam_adamw_state *s, beam_backend *be, beam_moment which, beam_tensor block);

#endif
