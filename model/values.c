/* Between floats of the host and tensors of the device: model/load.h. */
#include <stdlib.h>

#include "core/bf16.h"
#include "model/load.h"

static beam_status no_memory(int64_t elements)
{
    return BEAM_FAIL(BEAM_ENOMEM, "no memory for a copy of %lld elements", (long long)elements);
}

static beam_status set_bf16(beam_backend *be, beam_tensor t, const float *values)
{
    const int64_t n = beam_count(t);
    uint16_t *narrow = malloc((size_t)n * sizeof *narrow);
    if (!narrow)
        return no_memory(n);
    for (int64_t i = 0; i < n; i++)
        narrow[i] = beam_f32_to_bf16(values[i]);
    beam_upload(be, t, narrow);
    const beam_status status = beam_sync(be);
    free(narrow);
    return status;
}

static beam_status get_bf16(beam_backend *be, beam_tensor t, float *values)
{
    const int64_t n = beam_count(t);
    uint16_t *narrow = malloc((size_t)n * sizeof *narrow);
    if (!narrow)
        return no_memory(n);
    beam_download(be, narrow, t);
    for (int64_t i = 0; i < n; i++)
        values[i] = beam_bf16_to_f32(narrow[i]);
    free(narrow);
    return beam_sync(be);
}

beam_status beam_tensor_set_f32(beam_backend *be, beam_tensor t, const float *values)
{
    if (t.dtype == BEAM_F32) {
        beam_upload(be, t, values);
        return beam_sync(be);
    }
    if (t.dtype == BEAM_BF16)
        return set_bf16(be, t, values);
    const int64_t n = beam_count(t);
    double *wide = malloc((size_t)n * sizeof *wide);
    if (!wide)
        return no_memory(n);
    for (int64_t i = 0; i < n; i++)
        wide[i] = (double)values[i];
    beam_upload(be, t, wide);
    const beam_status status = beam_sync(be);
    free(wide);
    return status;
}

beam_status beam_tensor_get_f32(beam_backend *be, beam_tensor t, float *values)
{
    if (t.dtype == BEAM_F32) {
        beam_download(be, values, t);
        return beam_sync(be);
    }
    if (t.dtype == BEAM_BF16)
        return get_bf16(be, t, values);
    const int64_t n = beam_count(t);
    double *wide = malloc((size_t)n * sizeof *wide);
    if (!wide)
        return no_memory(n);
    beam_download(be, wide, t);
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)wide[i];
    free(wide);
    return beam_sync(be);
}
