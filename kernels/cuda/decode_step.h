/* What decoding does, in CUDA: kernels/decode/ops.h says what each computes. decode_step.c fills the table.
 */
#ifndef BEAM_KERNELS_CUDA_DECODE_STEP_H
#define BEAM_KERNELS_CUDA_DECODE_STEP_H

#include "kernels/decode/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const beam_decode_ops beam_cuda_decode_ops;

/* decode_products.cu */
void beam_cuda_unpack_rows(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id);
void beam_cuda_thin_gemm(beam_backend *be, const beam_thin_map *map, int maps, beam_tensor x);
void beam_cuda_latent_widen(beam_backend *be, beam_tensor wide, beam_tensor q, beam_tensor up);
void beam_cuda_latent_narrow(beam_backend *be, beam_tensor out, beam_tensor mixed, beam_tensor up);
void beam_cuda_read_rows(beam_backend *be, beam_tensor sum, beam_tensor x);

/* decode_heads.cu */
void beam_cuda_add_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor x, beam_tensor more,
                           beam_tensor weight, double epsilon);
void beam_cuda_finish_heads(beam_backend *be, const beam_heads *heads, int kinds, beam_heads_rule rule,
                            beam_places at);

/* decode_cache.cu */
enum { BEAM_CUDA_MOST_COLUMNS = 512 }; /* of a value: those of DeepSeek-V2's latents */
int64_t beam_cuda_cache_room(const beam_backend *be, int64_t n, int64_t heads, int64_t width,
                             int64_t context);
void beam_cuda_cache_attention(beam_backend *be, beam_tensor out, beam_tensor q, beam_cache cache,
                               beam_places at, beam_attention_rule rule, beam_tensor room);

/* transfer.cu, simt_device.cc */
void *beam_cuda_alloc_host(beam_backend *be, size_t bytes);
void beam_cuda_free_host(beam_backend *be, void *p);
void beam_cuda_send(beam_backend *be, beam_tensor to, const void *from);
void beam_cuda_fetch(beam_backend *be, void *to, beam_tensor from);

/* record.cu: a CUDA graph. simt_device.cc: a list of launches. */
void beam_cuda_record(beam_backend *be);
void *beam_cuda_end_record(beam_backend *be);
void beam_cuda_replay(beam_backend *be, void *recording);
void beam_cuda_forget(beam_backend *be, void *recording);

#ifdef __cplusplus
}
#endif
#endif
