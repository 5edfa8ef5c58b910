/* The table of decoding in CUDA. */
#include "kernels/cuda/decode_step.h"

const beam_decode_ops beam_cuda_decode_ops = {
    .on_gpu = true,
    .most_columns = BEAM_CUDA_MOST_COLUMNS,
    .unpack_rows = beam_cuda_unpack_rows,
    .thin_gemm = beam_cuda_thin_gemm,
    .add_rmsnorm = beam_cuda_add_rmsnorm,
    .finish_heads = beam_cuda_finish_heads,
    .latent_widen = beam_cuda_latent_widen,
    .latent_narrow = beam_cuda_latent_narrow,
    .cache_room = beam_cuda_cache_room,
    .cache_attention = beam_cuda_cache_attention,
    .read_rows = beam_cuda_read_rows,
    .alloc_host = beam_cuda_alloc_host,
    .free_host = beam_cuda_free_host,
    .send = beam_cuda_send,
    .fetch = beam_cuda_fetch,
    .record = beam_cuda_record,
    .end_record = beam_cuda_end_record,
    .replay = beam_cuda_replay,
    .forget = beam_cuda_forget,
};
