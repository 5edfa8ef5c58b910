/* The memory of the simulated device: the processor's. */
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/arena.h"
#include "core/status.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/decode_step.h"
#include "kernels/cuda/simt.h"
#include "kernels/cuda/wgmma.h"

/* Less than a device's, because every test fills it. */
constexpr size_t scratch_bytes = 4 << 20;

void *beam_cuda_alloc(beam_backend *be, size_t bytes)
{
    void *p = nullptr;
    if (posix_memalign(&p, BEAM_ALIGN, bytes > 0 ? bytes : 1) == 0)
        return p;
    if (!be->status)
        be->status = BEAM_ENOMEM;
    return nullptr;
}

void beam_cuda_free(beam_backend *, void *p)
{
    std::free(p);
}

static void copy_in_order(void *to, const void *from, size_t bytes)
{
    if (bytes > 0)
        simt::in_order([=] { std::memcpy(to, from, bytes); });
}

void beam_cuda_move(beam_backend *, void *to, const void *from, size_t bytes)
{
    copy_in_order(to, from, bytes);
}

/* Between device and memory that can be paged out: what a recording may not hold. */
static void transfer(void *to, const void *from, size_t bytes)
{
    if (simt::is_recording())
        simt::stop("a transfer while launches are recorded");
    if (bytes > 0)
        std::memcpy(to, from, bytes);
}

void beam_cuda_upload(beam_backend *, void *device, const void *host, size_t bytes)
{
    transfer(device, host, bytes);
}

void beam_cuda_download(beam_backend *, void *host, const void *device, size_t bytes)
{
    simt::wait();
    transfer(host, device, bytes);
}

void beam_cuda_zero(beam_backend *, void *device, size_t bytes)
{
    if (bytes > 0)
        simt::in_order([=] { std::memset(device, 0, bytes); });
}

void *beam_cuda_alloc_host(beam_backend *be, size_t bytes)
{
    void *p = std::malloc(bytes);
    if (!p)
        be->status = BEAM_FAIL(BEAM_ENOMEM, "no memory for %zu bytes", bytes);
    return p;
}

void beam_cuda_free_host(beam_backend *, void *p)
{
    simt::wait(); /* as a device does: nothing may travel to memory that is gone */
    std::free(p);
}

static std::vector<char> bytes_of(const void *from, size_t bytes)
{
    const char *first = static_cast<const char *>(from);
    return std::vector<char>(first, first + bytes);
}

/* A device reads the host's memory at any time until the host waits. */
void beam_cuda_send(beam_backend *, beam_tensor to, const void *from)
{
    const size_t bytes = beam_bytes(to);
    simt::in_order([=] {
        std::memcpy(to.data, from, bytes);
        simt::later([=, sent = bytes_of(from, bytes)] {
            if (std::memcmp(from, sent.data(), bytes) != 0)
                simt::stop("what was sent has changed before the host waited");
        });
    });
}

void beam_cuda_fetch(beam_backend *, void *to, beam_tensor from)
{
    const size_t bytes = beam_bytes(from);
    simt::in_order([=] {
        std::memset(to, 0xff, bytes); /* NaN */
        simt::later([=, fetched = bytes_of(from.data, bytes)] { std::memcpy(to, fetched.data(), bytes); });
    });
}

using recording = std::vector<std::function<void()>>;

void beam_cuda_record(beam_backend *)
{
    simt::record();
}

void *beam_cuda_end_record(beam_backend *)
{
    return new recording(simt::end_record());
}

void beam_cuda_replay(beam_backend *, void *list)
{
    for (const std::function<void()> &work : *static_cast<const recording *>(list))
        work();
}

void beam_cuda_forget(beam_backend *, void *list)
{
    delete static_cast<recording *>(list);
}

void beam_cuda_sync(beam_backend *)
{
    simt::wait();
}

void beam_cuda_close(beam_backend *be)
{
    beam_cuda_impl *impl = static_cast<beam_cuda_impl *>(be->impl);
    if (impl)
        std::free(impl->scratch);
    delete impl;
    be->impl = nullptr;
}

bool beam_cuda_blas_gemm(beam_backend *, beam_tensor, beam_tensor, bool, beam_tensor, bool, double, double)
{
    return false;
}

bool beam_cuda_wgmma_grouped(beam_backend *, const beam_grouped_product *, const beam_route *, beam_rows_of)
{
    return false;
}

beam_status beam_backend_simt(beam_backend *out, beam_dtype real)
{
    BEAM_ASSERT(real == BEAM_F32 || real == BEAM_BF16);
    *out = beam_backend();
    out->ops = &beam_cuda_ops;
    out->real = real;
    out->wide = BEAM_F32;
    out->threads = 1;
    out->impl = new beam_cuda_impl();
    void *scratch = beam_cuda_alloc(out, scratch_bytes);
    if (!scratch) {
        beam_cuda_close(out);
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the scratch of the simulated device");
    }
    std::memset(scratch, 0xff, scratch_bytes); /* NaN: it must not be read before it is written */
    beam_cuda_impl *impl = static_cast<beam_cuda_impl *>(out->impl);
    impl->scratch = scratch;
    impl->scratch_bytes = scratch_bytes;
    impl->processors = 2; /* few, so that blocks go on with further work */
    return BEAM_OK;
}
