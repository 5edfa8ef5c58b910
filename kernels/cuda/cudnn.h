/* Attention by cuDNN, which is loaded when the backend opens: a program needs it neither to build its kernels
 * nor to start. cudnn.c where cuDNN's headers are, cudnn_absent.c where they are not, and on the host. */
#ifndef BEAM_KERNELS_CUDA_CUDNN_H
#define BEAM_KERNELS_CUDA_CUDNN_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* NULL: the library is missing, too old or refuses the device, or it was not asked for. Attention by cuDNN
 * has not run on a device yet, so it is taken with BEAM_CUDA_CUDNN=1 in the environment only. stream is a
 * cudaStream_t. */
void *beam_cuda_cudnn_open(int device, void *stream);
void beam_cuda_cudnn_close(void *cudnn); /* NULL is accepted */

/* beam_attention and beam_attention_grad. False, with nothing done, where beam's own kernels must do it: see
 * `takes` in cudnn.c. The first call for a shape takes seconds, to compile, and may enlarge the backend's
 * scratch. */
bool beam_cuda_cudnn_attention(beam_backend *be, beam_tensor out, beam_tensor lse, beam_tensor q,
                               beam_tensor k, beam_tensor v, beam_sequences seq, beam_attention_rule rule);
bool beam_cuda_cudnn_attention_grad(beam_backend *be, beam_tensor dq, beam_tensor dk, beam_tensor dv,
                                    beam_tensor dout, beam_tensor out, beam_tensor lse, beam_tensor q,
                                    beam_tensor k, beam_tensor v, beam_sequences seq,
                                    beam_attention_rule rule);

/* Where sequences begin in each of some tensors, and how long they are: `slots` of them, at least seq.n;
 * those beyond are empty, at the end of the last one. */
enum { BEAM_SEQUENCE_TENSORS = 5 };
typedef struct {
    int64_t *at[BEAM_SEQUENCE_TENSORS]; /* [slots + 1], in elements */
    int64_t row[BEAM_SEQUENCE_TENSORS]; /* elements of a token */
    int32_t *length;                    /* [slots] */
    int64_t slots;
} beam_sequence_places;

/* Fills such a table on the device (sequence_places.cu). */
void beam_cuda_sequence_places(beam_backend *be, beam_sequence_places to, beam_sequences seq);

#ifdef __cplusplus
}
#endif
#endif
