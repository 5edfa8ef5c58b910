/* Between floats of the host and tensors of the device: model/load.h. */
#include <stdlib.h>

#include <omp.h>

#include "core/bf16.h"
#include "core/rng.h"
#include "model/load.h"

/* Element i of a host copy of type f64 or bf16. */
static void put(void *to, beam_dtype t, int64_t i, float value)
{
    if (t == BEAM_F64)
        ((double *)to)[i] = (double)value;
    else
        ((uint16_t *)to)[i] = beam_f32_to_bf16(value);
}

static float get(const void *from, beam_dtype t, int64_t i)
{
    return t == BEAM_F64 ? (float)((const double *)from)[i] : beam_bf16_to_f32(((const uint16_t *)from)[i]);
}

static beam_status allocate_copy(beam_tensor t, void **copy)
{
    BEAM_ASSERT(t.dtype == BEAM_F64 || t.dtype == BEAM_BF16);
    *copy = malloc(beam_bytes(t) + 1);
    return *copy ? BEAM_OK
                 : BEAM_FAIL(BEAM_ENOMEM, "no memory for a copy of %lld elements", (long long)beam_count(t));
}

beam_status beam_tensor_set_f32(beam_backend *be, beam_tensor t, const float *values)
{
    if (t.dtype == BEAM_F32) {
        beam_upload(be, t, values);
        return be->status;
    }
    void *copy;
    BEAM_TRY(allocate_copy(t, &copy));
    for (int64_t i = 0; i < beam_count(t); i++)
        put(copy, t.dtype, i, values[i]);
    beam_upload(be, t, copy);
    free(copy);
    return be->status;
}

beam_status beam_tensor_get_f32(beam_backend *be, beam_tensor t, float *values)
{
    if (t.dtype == BEAM_F32) {
        beam_download(be, values, t);
        return beam_sync(be);
    }
    void *copy;
    BEAM_TRY(allocate_copy(t, &copy));
    beam_download(be, copy, t);
    const beam_status status = beam_sync(be);
    for (int64_t i = 0; i < beam_count(t); i++)
        values[i] = get(copy, t.dtype, i);
    free(copy);
    return status;
}

enum { PIECE = 1 << 20 };

static int64_t piece_at(int64_t at, int64_t n)
{
    return n - at < PIECE ? n - at : PIECE;
}

/* Of the largest piece of n numbers. */
static beam_status allocate_piece(int64_t n, float **values)
{
    *values = malloc((size_t)piece_at(0, n) * sizeof **values + 1);
    return *values ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for numbers to begin with");
}

beam_status beam_tensor_set_normal(beam_backend *be, beam_tensor t, uint64_t seed, uint64_t stream,
                                   int64_t first, double deviation)
{
    const int64_t n = beam_count(t);
    const beam_tensor flat = beam_reshape(t, BEAM_DIMS(n));
    const int threads = be->device_memory ? omp_get_max_threads() : be->threads;
    float *values;
    beam_status status = allocate_piece(n, &values);
    for (int64_t at = 0; !status && at < n; at += PIECE) {
        const int64_t count = piece_at(at, n);
#pragma omp parallel for num_threads(threads)
        for (int64_t i = 0; i < count; i++)
            values[i] = (float)(deviation * beam_random_normal(seed, stream, (uint64_t)(first + at + i)));
        status = beam_tensor_set_f32(be, beam_rows(flat, at, count), values);
    }
    free(values);
    return status;
}

beam_status beam_tensor_set_all(beam_backend *be, beam_tensor t, float value)
{
    const int64_t n = beam_count(t);
    const beam_tensor flat = beam_reshape(t, BEAM_DIMS(n));
    float *values;
    beam_status status = allocate_piece(n, &values);
    for (int64_t i = 0; !status && i < piece_at(0, n); i++)
        values[i] = value;
    for (int64_t at = 0; !status && at < n; at += PIECE)
        status = beam_tensor_set_f32(be, beam_rows(flat, at, piece_at(at, n)), values);
    free(values);
    return status;
}
