/* Kernels that use one instruction of ptx.cuh each, over tensors of any device backend; and kernels with a
 * mistake that the host shim must find. */
#ifndef BEAM_TESTS_OPS_TILE_H
#define BEAM_TESTS_OPS_TILE_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* d f32 [16,8] += a bf16 [16,16] b bf16 [16,8], by asynchronous copies into shared memory, ldmatrix and mma.
 * b_by_column: b is stored [8,16]. Rows of a from `rows` on count as 0 and are not read. */
void tile_bf16(beam_backend *be, beam_tensor d, beam_tensor a, beam_tensor b, bool b_by_column, int rows);

/* d f32 [16,8] += a f32 [16,8] b f32 [8,8] in tf32. */
void tile_tf32(beam_backend *be, beam_tensor d, beam_tensor a, beam_tensor b);

/* out i32 [8,n] = for n threads of one block: ballot of odd lanes, lane's number from 3, from its neighbour
 * (xor 1), from 2 below (up), from 2 above (down), count of threads below 10, whether any is above 1000,
 * whether all are below 1000. */
void tile_votes(beam_backend *be, beam_tensor out);

typedef enum { TILE_MISSED_BARRIER, TILE_MISSED_LANE, TILE_NEVER_WAITED, TILE_TOO_MUCH_SHARED } tile_mistake;
void tile_broken(beam_backend *be, tile_mistake mistake);

/* out f32 [64]: thread i reads what thread 63 - i wrote to shared memory, without a barrier. */
void tile_race(beam_backend *be, beam_tensor out);

#ifdef __cplusplus
}
#endif
#endif
