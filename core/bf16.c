#include "core/bf16.h"

#include <math.h>

float beam_f16_to_f32(uint16_t h)
{
    const int sign = h >> 15, exponent = (h >> 10) & 31, fraction = h & 1023;
    float f;
    if (exponent == 0)
        f = ldexpf((float)fraction, -24);
    else if (exponent == 31)
        f = fraction ? NAN : INFINITY;
    else
        f = ldexpf((float)(fraction + 1024), exponent - 25);
    return sign ? -f : f;
}

uint16_t beam_f32_to_f16(float f)
{
    const uint16_t sign = signbit(f) ? 0x8000u : 0u;
    const float a = fabsf(f);
    if (isnan(f))
        return (uint16_t)(sign | 0x7e00u);
    if (a >= 65520.0f) /* halfway between the largest half and the next step rounds to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (a < ldexpf(1.0f, -14)) /* subnormal: a multiple of 2^-24 */
        return (uint16_t)(sign | (uint16_t)lrintf(ldexpf(a, 24)));
    int exponent;
    const float m = frexpf(a, &exponent); /* a = m * 2^exponent, m in [0.5, 1) */
    /* A mantissa that rounds up to 2048 carries into the exponent, as it should. */
    const long bits = ((long)(exponent + 13) << 10) + lrintf(ldexpf(m, 11));
    return (uint16_t)(sign | (uint16_t)bits);
}
