/* bfloat16 and IEEE half precision <-> float, round to nearest even. */
#ifndef BEAM_CORE_BF16_H
#define BEAM_CORE_BF16_H

#include <stdint.h>
#include <string.h>

static inline float beam_bf16_to_f32(uint16_t h)
{
    const uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint16_t beam_f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u) /* NaN stays NaN */
        return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

float beam_f16_to_f32(uint16_t h);
uint16_t beam_f32_to_f16(float f);

#endif
