/* The device itself: memory, transfers, the stream, and its failures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/cudnn.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/devices.h"
#include "kernels/cuda/wgmma.h"

constexpr size_t scratch_bytes = 64 << 20;

static beam_cuda_impl *impl_of(const beam_backend *be)
{
    return static_cast<beam_cuda_impl *>(be->impl);
}

bool beam_cuda_check(beam_backend *be, cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return true;
    if (!be->status)
        be->status = BEAM_FAIL(BEAM_EDEVICE, "cuda: %s failed: %s (%s)", what, cudaGetErrorString(error),
                               cudaGetErrorName(error));
    return false;
}

/* Memory that is refused leaves the device as it was; beam_alloc says what it was for. */
void *beam_cuda_alloc(beam_backend *be, size_t bytes)
{
    void *p = nullptr;
    const cudaError_t error = cudaMalloc(&p, bytes > 0 ? bytes : 1);
    if (error == cudaSuccess)
        return p;
    if (error == cudaErrorMemoryAllocation)
        cudaGetLastError(); /* forgets it */
    if (error != cudaErrorMemoryAllocation)
        beam_cuda_check(be, error, "an allocation");
    else if (!be->status)
        be->status = BEAM_ENOMEM;
    return nullptr;
}

void beam_cuda_free(beam_backend *be, void *p)
{
    if (p)
        beam_cuda_check(be, cudaFree(p), "giving memory back");
}

void beam_cuda_move(beam_backend *be, void *to, const void *from, size_t bytes)
{
    beam_cuda_check(be, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(be)), "a copy");
}

/* From memory that can be paged out the copy is taken before this returns, so the caller may reuse it. */
void beam_cuda_upload(beam_backend *be, void *device, const void *host, size_t bytes)
{
    beam_cuda_check(be, cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_of(be)),
                    "an upload");
}

void beam_cuda_download(beam_backend *be, void *host, const void *device, size_t bytes)
{
    const cudaError_t begun = cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_of(be));
    if (!beam_cuda_check(be, begun, "a download") ||
        !beam_cuda_check(be, cudaStreamSynchronize(stream_of(be)), "the work before a download"))
        memset(host, 0, bytes);
}

void beam_cuda_zero(beam_backend *be, void *device, size_t bytes)
{
    beam_cuda_check(be, cudaMemsetAsync(device, 0, bytes, stream_of(be)), "clearing memory");
}

void beam_cuda_sync(beam_backend *be)
{
    beam_cuda_check(be, cudaStreamSynchronize(stream_of(be)), "work on the device");
}

void beam_cuda_close(beam_backend *be)
{
    beam_cuda_impl *impl = impl_of(be);
    if (!impl)
        return;
    beam_cuda_blas_close(static_cast<beam_cuda_blas *>(impl->blas));
    beam_cuda_cudnn_close(impl->cudnn);
    cudaFree(impl->scratch);
    if (impl->stream)
        cudaStreamDestroy(stream_of(be));
    free(impl);
    be->impl = nullptr;
}

bool beam_cuda_compiled(void)
{
    return true;
}

int beam_cuda_devices(beam_cuda_device *list, int most)
{
    int n = 0;
    if (cudaGetDeviceCount(&n) != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    for (int i = 0; i < n && i < most; i++) {
        cudaDeviceProp p = {};
        cudaGetDeviceProperties(&p, i);
        list[i] = beam_cuda_device();
        snprintf(list[i].name, sizeof list[i].name, "%s", p.name);
        list[i].memory = p.totalGlobalMem;
        list[i].major = p.major;
        list[i].minor = p.minor;
        list[i].processors = p.multiProcessorCount;
    }
    return n;
}

static beam_status require_device(int device)
{
    int n = 0;
    const cudaError_t error = cudaGetDeviceCount(&n);
    if (error != cudaSuccess)
        return BEAM_FAIL(BEAM_EDEVICE,
                         "backend: cuda finds no device: %s; use backend: cpu, or see `beam doctor`",
                         cudaGetErrorString(error));
    if (device >= n)
        return BEAM_FAIL(BEAM_EDEVICE, "backend: cuda wants device %d, but there are only %d", device, n);
    return BEAM_OK;
}

static __global__ void nothing()
{
}

/* A program has code for few architectures; another device refuses the first kernel. */
static beam_status require_kernels(int device)
{
    cudaFuncAttributes attributes;
    cudaDeviceProp p = {};
    const cudaError_t error = cudaFuncGetAttributes(&attributes, nothing);
    if (error == cudaSuccess)
        return BEAM_OK;
    cudaGetDeviceProperties(&p, device);
    return BEAM_FAIL(
        BEAM_EDEVICE,
        "backend: cuda has no code for device %d, %s (sm_%d%d): %s; build with -DBEAM_CUDA_ARCHS=%d%d",
        device, p.name, p.major, p.minor, cudaGetErrorString(error), p.major, p.minor);
}

static beam_status fill(beam_backend *out, int device)
{
    cudaStream_t stream = nullptr;
    if (!beam_cuda_check(out, cudaSetDevice(device), "choosing the device"))
        return out->status;
    BEAM_TRY(require_kernels(device));
    if (!beam_cuda_check(out, cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream"))
        return out->status;
    impl_of(out)->stream = out->stream = stream;
    out->device_memory = true;
    if (!beam_cuda_check(
            out, cudaDeviceGetAttribute(&impl_of(out)->processors, cudaDevAttrMultiProcessorCount, device),
            "counting processors"))
        return out->status;
    impl_of(out)->blas = beam_cuda_blas_open();
    impl_of(out)->tensor_map = beam_cuda_wgmma_open(device);
    impl_of(out)->cudnn = beam_cuda_cudnn_open(device, stream);
    impl_of(out)->scratch = beam_cuda_alloc(out, scratch_bytes);
    impl_of(out)->scratch_bytes = scratch_bytes;
    if (out->status == BEAM_ENOMEM)
        return BEAM_FAIL(BEAM_ENOMEM, "device %d has no memory for %zu bytes of scratch", device,
                         scratch_bytes);
    return out->status;
}

beam_status beam_backend_cuda(beam_backend *out, int device, beam_dtype real)
{
    BEAM_ASSERT(device >= 0 && (real == BEAM_F32 || real == BEAM_BF16));
    *out = beam_backend();
    BEAM_TRY(require_device(device));
    out->ops = &beam_cuda_ops;
    out->real = real;
    out->wide = BEAM_F32;
    out->threads = 1;
    out->impl = calloc(1, sizeof(beam_cuda_impl));
    if (!out->impl)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the cuda backend");
    impl_of(out)->device = device;
    const beam_status status = fill(out, device);
    if (status)
        beam_cuda_close(out);
    return status;
}
