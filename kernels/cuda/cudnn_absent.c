/* Attention where cuDNN cannot be: in builds without its headers, and on the host. */
#include <stdlib.h>

#include "core/log.h"
#include "kernels/cuda/cudnn.h"

void *beam_cuda_cudnn_open(int device, void *stream)
{
    (void)device;
    (void)stream;
    if (getenv("BEAM_CUDA_CUDNN"))
        beam_info("cuda: BEAM_CUDA_CUDNN does nothing: this program was built without cuDNN's headers");
    return NULL;
}

void beam_cuda_cudnn_close(void *cudnn)
{
    (void)cudnn;
}

bool beam_cuda_cudnn_attention(beam_backend *be, beam_tensor out, beam_tensor lse, beam_tensor q,
                               beam_tensor k, beam_tensor v, beam_sequences seq, beam_attention_rule rule)
{
    (void)be, (void)out, (void)lse, (void)q, (void)k, (void)v, (void)seq, (void)rule;
    return false;
}

bool beam_cuda_cudnn_attention_grad(beam_backend *be, beam_tensor dq, beam_tensor dk, beam_tensor dv,
                                    beam_tensor dout, beam_tensor out, beam_tensor lse, beam_tensor q,
                                    beam_tensor k, beam_tensor v, beam_sequences seq,
                                    beam_attention_rule rule)
{
    (void)be, (void)dq, (void)dk, (void)dv, (void)dout, (void)out, (void)lse, (void)q, (void)k, (void)v;
    (void)seq, (void)rule;
    return false;
}
