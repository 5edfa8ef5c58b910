/* Between floats of the host and tensors of the device: model/load.h. */
#include <stdlib.h>

#include "model/load.h"

beam_status beam_tensor_set_f32(beam_backend *be, beam_tensor t, const float *values)
{
    if (t.dtype == BEAM_F32) {
        beam_upload(be, t, values);
        return beam_sync(be);
    }
    const int64_t n = beam_count(t);
    double *wide = malloc((size_t)n * sizeof *wide);
    if (!wide)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a copy of %lld elements", (long long)n);
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
    const int64_t n = beam_count(t);
    double *wide = malloc((size_t)n * sizeof *wide);
    if (!wide)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a copy of %lld elements", (long long)n);
    beam_download(be, wide, t);
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)wide[i];
    free(wide);
    return beam_sync(be);
}
