#include "core/tensor.h"

#include "core/status.h"

size_t beam_dtype_size(beam_dtype t)
{
    static const size_t size[] = {[BEAM_F32] = 4, [BEAM_F64] = 8, [BEAM_BF16] = 2, [BEAM_F16] = 2,
                                  [BEAM_I32] = 4, [BEAM_I64] = 8, [BEAM_U8] = 1};
    return size[t];
}

const char *beam_dtype_name(beam_dtype t)
{
    static const char *const name[] = {
        [BEAM_F32] = "f32", [BEAM_F64] = "f64", [BEAM_BF16] = "bf16", [BEAM_F16] = "f16",
        [BEAM_I32] = "i32", [BEAM_I64] = "i64", [BEAM_U8] = "u8"};
    return name[t];
}

beam_tensor beam_view(void *data, beam_dtype t, int ndim, const int64_t dim[])
{
    BEAM_ASSERT(ndim >= 0 && ndim <= BEAM_MAX_DIM);
    beam_tensor v = {.data = data, .dim = {1, 1, 1, 1}, .ndim = ndim, .dtype = t};
    for (int i = 0; i < ndim; i++) {
        BEAM_ASSERT(dim[i] >= 0);
        v.dim[i] = dim[i];
    }
    return v;
}

int64_t beam_count(beam_tensor t)
{
    return t.dim[0] * t.dim[1] * t.dim[2] * t.dim[3];
}

size_t beam_bytes(beam_tensor t)
{
    return (size_t)beam_count(t) * beam_dtype_size(t.dtype);
}

bool beam_same_shape(beam_tensor a, beam_tensor b)
{
    if (a.ndim != b.ndim)
        return false;
    for (int i = 0; i < a.ndim; i++)
        if (a.dim[i] != b.dim[i])
            return false;
    return true;
}

beam_tensor beam_reshape(beam_tensor t, int ndim, const int64_t dim[])
{
    const beam_tensor v = beam_view(t.data, t.dtype, ndim, dim);
    BEAM_ASSERT(beam_count(v) == beam_count(t));
    return v;
}

beam_tensor beam_rows(beam_tensor t, int64_t first, int64_t n)
{
    BEAM_ASSERT(first >= 0 && n >= 0 && first + n <= t.dim[0]);
    const size_t row = (size_t)(t.dim[1] * t.dim[2] * t.dim[3]) * beam_dtype_size(t.dtype);
    t.data = (char *)t.data + (size_t)first * row;
    t.dim[0] = n;
    return t;
}
