/* What decoding does, on the processor: kernels/decode/ops.h says what each computes. */
#ifndef BEAM_KERNELS_DECODE_CPU_H
#define BEAM_KERNELS_DECODE_CPU_H

#include "kernels/decode/ops.h"

extern const beam_decode_ops beam_cpu_decode_ops;

int64_t beam_cpu_cache_room(const beam_backend *be, int64_t n, int64_t heads, int64_t width, int64_t context);
void beam_cpu_finish_heads(beam_backend *be, const beam_heads *heads, int kinds, beam_heads_rule rule,
                           beam_places at);
void beam_cpu_cache_attention(beam_backend *be, beam_tensor out, beam_tensor q, beam_cache cache,
                              beam_places at, beam_attention_rule rule, beam_tensor room);

#endif
