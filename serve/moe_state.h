/* The halves of serve/beam_moe.h over floats, and its way to a GPU: for the files that implement it only. */
#ifndef BEAM_SERVE_MOE_STATE_H
#define BEAM_SERVE_MOE_STATE_H

#include "core/arena.h"
#include "kernels/decode/thin.h"
#include "serve/beam_moe.h"

beam_matrix beam_moe_rows(const beam_moe_matrix *m, int64_t rows, int64_t width);
int beam_moe_threads(const beam_moe *m);

/* Places in a measuring arena what the functions below push onto theirs for so many tokens. */
void beam_moe_measure_route(const beam_moe *m, int64_t tokens, beam_arena *a);
void beam_moe_measure_experts(const beam_moe *m, int64_t tokens, beam_arena *a);

/* Descriptions, pointers and sizes are checked. What is pushed is not released. */
void beam_moe_route_f32(const beam_moe *m, const float *x, int64_t tokens, const beam_moe_pairs *pairs,
                        beam_arena *a);
void beam_moe_experts_f32(const beam_moe *m, const float *x, float *y, int64_t tokens,
                          const beam_moe_pairs *pairs, beam_arena *a);

/* The same on a GPU, over the caller's types; all pointers are the device's. Whether this build can, and
 * whether it takes such a layer and so many tokens. */
bool beam_moe_cuda_compiled(void);
bool beam_moe_cuda_fits(const beam_moe *m);
bool beam_moe_cuda_takes(int64_t tokens);
void beam_moe_cuda_measure(const beam_moe *m, int64_t tokens, beam_arena *a);
/* Routing into the caller's pairs and the experts, in the two launches of a run. */
int beam_moe_cuda_layer(const beam_moe *m, const void *x, void *y, int64_t tokens,
                        const beam_moe_pairs *pairs, beam_arena *a, void *stream);
int beam_moe_cuda_run(const beam_moe *m, const void *x, void *y, int64_t tokens, beam_arena *a, void *stream);
int beam_moe_cuda_route(const beam_moe *m, const void *x, int64_t tokens, const beam_moe_pairs *pairs,
                        beam_arena *a, void *stream);
int beam_moe_cuda_experts(const beam_moe *m, const void *x, void *y, int64_t tokens,
                          const beam_moe_pairs *pairs, beam_arena *a, void *stream);

#endif
