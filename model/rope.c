#include "model/rope.h"

#include <math.h>

#include "core/status.h"

#define PI 3.14159265358979323846

/* YaRN: frequencies below pair `low` stay, those from `high` on are divided by the factor, with a ramp
 * between. */
typedef struct {
    double low, high;
} yarn_ramp;

/* The pair, not rounded, that makes `rotations` turns over the original context. */
static double pair_of(double rotations, int64_t half, const beam_rope_config *r)
{
    return (double)half * log((double)r->original_positions / (rotations * 2 * PI)) / log(r->theta);
}

static yarn_ramp ramp_of(int64_t half, const beam_rope_config *r)
{
    double low = pair_of(r->beta_fast, half, r), high = pair_of(r->beta_slow, half, r);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = low > 0 ? low : 0;
    high = high < (double)(2 * half - 1) ? high : (double)(2 * half - 1);
    if (low == high)
        high += 0.001;
    return (yarn_ramp){low, high};
}

static float frequency_f32(int64_t i, int64_t half, const beam_rope_config *r, yarn_ramp ramp)
{
    const float exponent = (float)(2 * i) / (float)(2 * half);
    const float period = (float)pow((double)(float)r->theta, (double)exponent), plain = 1.0f / period;
    if (r->kind == BEAM_ROPE_PLAIN)
        return plain;
    if (r->kind == BEAM_ROPE_LINEAR)
        return plain / (float)r->factor;
    float past = ((float)i - (float)ramp.low) / (float)(ramp.high - ramp.low);
    past = past > 0 ? past < 1 ? past : 1 : 0;
    const float kept = 1 - past, interpolated = 1.0f / ((float)r->factor * period);
    return interpolated * (1 - kept) + plain * kept;
}

static double frequency_f64(int64_t i, int64_t half, const beam_rope_config *r, yarn_ramp ramp)
{
    const double plain = pow(r->theta, -(double)i / (double)half);
    if (r->kind == BEAM_ROPE_PLAIN)
        return plain;
    if (r->kind == BEAM_ROPE_LINEAR)
        return plain / r->factor;
    double past = ((double)i - ramp.low) / (ramp.high - ramp.low);
    past = past > 0 ? past < 1 ? past : 1 : 0;
    return plain / r->factor * past + plain * (1 - past);
}

static void fill_f32(beam_tensor cosine, beam_tensor sine, const beam_rope_config *r, yarn_ramp ramp)
{
    const int64_t half = cosine.dim[1];
    const float amplitude = (float)r->amplitude;
    float *c = cosine.data, *s = sine.data;
    for (int64_t i = 0; i < half; i++) {
        const float frequency = frequency_f32(i, half, r, ramp);
        for (int64_t p = 0; p < cosine.dim[0]; p++) {
            const float angle = (float)p * frequency;
            c[p * half + i] = cosf(angle) * amplitude;
            s[p * half + i] = sinf(angle) * amplitude;
        }
    }
}

static void fill_f64(beam_tensor cosine, beam_tensor sine, const beam_rope_config *r, yarn_ramp ramp)
{
    const int64_t half = cosine.dim[1];
    double *c = cosine.data, *s = sine.data;
    for (int64_t i = 0; i < half; i++) {
        const double frequency = frequency_f64(i, half, r, ramp);
        for (int64_t p = 0; p < cosine.dim[0]; p++) {
            c[p * half + i] = r->amplitude * cos((double)p * frequency);
            s[p * half + i] = r->amplitude * sin((double)p * frequency);
        }
    }
}

void beam_rope_table(beam_tensor cosine, beam_tensor sine, const beam_rope_config *rope)
{
    BEAM_ASSERT(beam_same_shape(cosine, sine) && cosine.dtype == sine.dtype);
    BEAM_ASSERT(rope->theta > 1 && rope->amplitude > 0);
    const yarn_ramp ramp = rope->kind == BEAM_ROPE_YARN ? ramp_of(cosine.dim[1], rope) : (yarn_ramp){0, 1};
    if (cosine.dtype == BEAM_F64)
        fill_f64(cosine, sine, rope, ramp);
    else
        fill_f32(cosine, sine, rope, ramp);
}
