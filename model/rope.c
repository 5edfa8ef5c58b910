#include "model/rope.h"

#include <math.h>

#include "core/status.h"

static void fill_f32(beam_tensor cosine, beam_tensor sine, double theta)
{
    const int64_t half = cosine.dim[1];
    float *c = cosine.data, *s = sine.data;
    for (int64_t i = 0; i < half; i++) {
        const float exponent = (float)(2 * i) / (float)(2 * half);
        const float frequency = 1.0f / (float)pow(theta, (double)exponent);
        for (int64_t p = 0; p < cosine.dim[0]; p++) {
            const float angle = (float)p * frequency;
            c[p * half + i] = cosf(angle);
            s[p * half + i] = sinf(angle);
        }
    }
}

static void fill_f64(beam_tensor cosine, beam_tensor sine, double theta)
{
    const int64_t half = cosine.dim[1];
    double *c = cosine.data, *s = sine.data;
    for (int64_t i = 0; i < half; i++) {
        const double frequency = pow(theta, -(double)(2 * i) / (double)(2 * half));
        for (int64_t p = 0; p < cosine.dim[0]; p++) {
            c[p * half + i] = cos((double)p * frequency);
            s[p * half + i] = sin((double)p * frequency);
        }
    }
}

void beam_rope_table(beam_tensor cosine, beam_tensor sine, double theta)
{
    BEAM_ASSERT(beam_same_shape(cosine, sine) && cosine.dtype == sine.dtype);
    if (cosine.dtype == BEAM_F64)
        fill_f64(cosine, sine, theta);
    else
        fill_f32(cosine, sine, theta);
}
