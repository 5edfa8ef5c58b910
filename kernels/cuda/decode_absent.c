/* What programs find in place of the decoding kernels when they are built without nvcc. */
#include "kernels/cuda/decode.h"

bool beam_decode_compiled(void)
{
    return false;
}

bool beam_decode_route(const beam_decode_call *c, bool list, void *stream)
{
    (void)c;
    (void)list;
    (void)stream;
    return false;
}

bool beam_decode_list(const beam_decode_call *c, void *stream)
{
    (void)c;
    (void)stream;
    return false;
}

bool beam_decode_experts(const beam_decode_call *c, void *stream)
{
    (void)c;
    (void)stream;
    return false;
}
