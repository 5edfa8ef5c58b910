#include "support/values.h"

#include <math.h>

#include "core/bf16.h"
#include "core/rng.h"
#include "core/status.h"

enum { SEED = 20260 };

double test_get(beam_tensor t, int64_t i)
{
    BEAM_ASSERT(t.data && i >= 0 && i < beam_count(t));
    switch (t.dtype) {
    case BEAM_F32:
        return (double)((const float *)t.data)[i];
    case BEAM_F64:
        return ((const double *)t.data)[i];
    case BEAM_BF16:
        return (double)beam_bf16_to_f32(((const uint16_t *)t.data)[i]);
    case BEAM_F16:
        return (double)beam_f16_to_f32(((const uint16_t *)t.data)[i]);
    case BEAM_I32:
        return (double)((const int32_t *)t.data)[i];
    case BEAM_I64:
        return (double)((const int64_t *)t.data)[i];
    case BEAM_U8:
        break;
    }
    return (double)((const uint8_t *)t.data)[i];
}

void test_set(beam_tensor t, int64_t i, double value)
{
    BEAM_ASSERT(t.data && i >= 0 && i < beam_count(t));
    switch (t.dtype) {
    case BEAM_F32:
        ((float *)t.data)[i] = (float)value;
        return;
    case BEAM_F64:
        ((double *)t.data)[i] = value;
        return;
    case BEAM_BF16:
        ((uint16_t *)t.data)[i] = beam_f32_to_bf16((float)value);
        return;
    case BEAM_F16:
        ((uint16_t *)t.data)[i] = beam_f32_to_f16((float)value);
        return;
    case BEAM_I32:
        ((int32_t *)t.data)[i] = (int32_t)value;
        return;
    case BEAM_I64:
        ((int64_t *)t.data)[i] = (int64_t)value;
        return;
    case BEAM_U8:
        break;
    }
    ((uint8_t *)t.data)[i] = (uint8_t)value;
}

double test_normal(const char *name, int64_t i)
{
    return (double)(float)beam_random_normal(SEED, beam_hash_string(name), (uint64_t)i);
}

double test_uniform(const char *name, int64_t i, double low, double high)
{
    const double u = beam_random_uniform(SEED, beam_hash_string(name), (uint64_t)i);
    return (double)(float)(low + (high - low) * u);
}

void test_fill(beam_tensor t, double value)
{
    for (int64_t i = 0; t.data && i < beam_count(t); i++)
        test_set(t, i, value);
}

void test_fill_normal(beam_tensor t, const char *name, double scale)
{
    for (int64_t i = 0; t.data && i < beam_count(t); i++)
        test_set(t, i, (double)(float)(scale * test_normal(name, i)));
}

void test_fill_uniform(beam_tensor t, const char *name, double low, double high)
{
    for (int64_t i = 0; t.data && i < beam_count(t); i++)
        test_set(t, i, test_uniform(name, i, low, high));
}

void test_fill_integers(beam_tensor t, const char *name, int low, int high)
{
    for (int64_t i = 0; t.data && i < beam_count(t); i++)
        test_set(t, i, floor(test_uniform(name, i, low, high + 1)));
}
