/* cuBLASLt, loaded when the backend opens: a program needs it neither to build its kernels nor to start. */
#ifndef BEAM_KERNELS_CUDA_BLAS_H
#define BEAM_KERNELS_CUDA_BLAS_H

#include "kernels/backend.h"

typedef struct beam_cuda_blas beam_cuda_blas;

/* NULL where the library is missing or refuses the device; BEAM_CUDA_BLAS=0 in the environment: never looks.
 */
beam_cuda_blas *beam_cuda_blas_open();
void beam_cuda_blas_close(beam_cuda_blas *blas); /* NULL is accepted */

/* beam_gemm of a shape that is not empty. False, with nothing done, where it cannot: no library, factors of
 * two types, addresses or rows that are not aligned to 16 bytes. */
bool beam_cuda_blas_gemm(beam_backend *be, beam_tensor c, beam_tensor a, bool ta, beam_tensor b, bool tb,
                         double alpha, double beta);

#endif
