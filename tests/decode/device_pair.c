#include "decode/device_pair.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bf16.h"
#include "core/rng.h"
#include "kernels/cuda/devices.h"

void need(beam_status status)
{
    if (status != BEAM_OK)
        fail_msg("%s", beam_last_error());
}

void open_pair(pair *p)
{
    need(beam_backend_cpu(&p->be[HERE], 2));
    need(beam_backend_cuda(&p->be[THERE], 0, BEAM_F32));
}

void close_pair(pair *p)
{
    for (int i = 0; i < BOTH; i++)
        beam_backend_close(&p->be[i]);
}

void *new_memory(size_t bytes)
{
    void *x = malloc(bytes + 1);
    assert_non_null(x);
    return x;
}

float number(uint64_t stream, int64_t i)
{
    return (float)(beam_random_bits(5, stream, (uint64_t)i) >> 40) * 0x1p-23f - 1;
}

beam_tensor random_tensor(uint64_t stream, beam_dtype type, int ndim, const int64_t dim[])
{
    beam_tensor t = beam_view(NULL, type, ndim, dim);
    t.data = new_memory(beam_bytes(t));
    for (int64_t i = 0; i < beam_count(t); i++)
        if (type == BEAM_BF16)
            ((uint16_t *)t.data)[i] = beam_f32_to_bf16(number(stream, i));
        else
            ((float *)t.data)[i] = number(stream, i);
    return t;
}

double at(beam_tensor t, int64_t i)
{
    return t.dtype == BEAM_BF16 ? (double)beam_bf16_to_f32(((const uint16_t *)t.data)[i])
                                : (double)((const float *)t.data)[i];
}

beam_tensor put(beam_backend *be, beam_tensor host)
{
    beam_tensor t = host;
    t.data = beam_alloc(be, beam_bytes(t), "a test");
    beam_upload(be, t, host.data);
    need(be->status);
    return t;
}

beam_tensor put_numbers(beam_backend *be, const int32_t *x, int64_t n)
{
    return put(be, beam_view((void *)(uintptr_t)x, BEAM_I32, BEAM_DIMS(n)));
}

beam_tensor unset(beam_backend *be, int ndim, const int64_t dim[])
{
    beam_tensor host = beam_view(NULL, BEAM_F32, ndim, dim);
    host.data = new_memory(beam_bytes(host));
    memset(host.data, 0xff, beam_bytes(host));
    const beam_tensor t = put(be, host);
    free(host.data);
    return t;
}

void assert_near(beam_backend *be, beam_tensor t, const double *want, double tolerance, const char *what)
{
    float *got = new_memory(beam_bytes(t));
    double largest = 0;
    beam_download(be, got, t);
    need(beam_sync(be));
    for (int64_t i = 0; i < beam_count(t); i++)
        largest = fabs(want[i]) > largest ? fabs(want[i]) : largest;
    for (int64_t i = 0; i < beam_count(t); i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance * largest))
            fail_msg("%s, %s: number %lld is %.9g, not %.9g", what, be->ops->name, (long long)i,
                     (double)got[i], want[i]);
    free(got);
}

void drop(beam_backend *be, const beam_tensor *t, int n)
{
    for (int i = 0; i < n; i++)
        beam_free(be, t[i].data);
}

void assert_equal(beam_backend *be, beam_tensor t, beam_tensor want, const char *what)
{
    void *got = new_memory(beam_bytes(t)), *wanted = new_memory(beam_bytes(t));
    assert_int_equal(beam_bytes(t), beam_bytes(want));
    beam_download(be, got, t);
    beam_download(be, wanted, want);
    need(beam_sync(be));
    if (memcmp(got, wanted, beam_bytes(t)) != 0)
        fail_msg("%s, %s: other bits", what, be->ops->name);
    free(got);
    free(wanted);
}
