/* The products of experts for an H100 or H200: its bulk copies and its own tensor core instructions, which no
 * other device has and the host cannot show. */
#ifndef BEAM_KERNELS_CUDA_WGMMA_H
#define BEAM_KERNELS_CUDA_WGMMA_H

#include "kernels/backend.h"

/* What the kernel needs of the driver, or NULL: another device, no code for sm_90a in the program, or not
 * asked for. It has not run on a device yet, so it is taken with BEAM_CUDA_WGMMA=1 in the environment only.
 */
void *beam_cuda_wgmma_open(int device);

/* beam_grouped_gemm, with the activation if it is of whole groups of 8. Bulk copies bring boxes of rows that
 * stand together, so that rows of tokens are gathered into p->a before. False, with nothing done, where it
 * cannot: not opened, another type than bf16, rows that are not aligned to 16 bytes. */
bool beam_cuda_wgmma_grouped(beam_backend *be, const beam_grouped_product *p, const beam_route *route,
                             beam_rows_of rows);

#endif
