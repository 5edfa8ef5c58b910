#include "ops/device_tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bf16.h"
#include "core/rng.h"

beam_tensor device_tensor(beam_backend *be, beam_dtype t, int ndim, const int64_t dim[])
{
    beam_tensor x = beam_view(NULL, t, ndim, dim);
    x.data = beam_alloc(be, beam_bytes(x), "a test's tensor");
    assert_non_null(x.data);
    return x;
}

beam_tensor device_tensor_filled(beam_backend *be, uint64_t stream, int64_t period, int ndim,
                                 const int64_t dim[])
{
    beam_tensor x = device_tensor(be, be->real, ndim, dim);
    char *host = malloc(beam_bytes(x));
    assert_non_null(host);
    for (int64_t i = 0; i < beam_count(x); i++) {
        const float v = (float)beam_random_normal(7, stream, (uint64_t)(i % period));
        const uint16_t half = beam_f32_to_bf16(v);
        if (be->real == BEAM_BF16)
            memcpy(host + 2 * i, &half, sizeof half);
        else
            memcpy(host + 4 * i, &v, sizeof v);
    }
    beam_upload(be, x, host);
    free(host);
    return x;
}
