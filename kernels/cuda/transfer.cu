/* Memory of the host that the device reaches by itself, and transfers to and from it. */
#include "core/status.h"
#include "kernels/cuda/decode_step.h"
#include "kernels/cuda/device.cuh"

void *beam_cuda_alloc_host(beam_backend *be, size_t bytes)
{
    void *p = nullptr;
    const cudaError_t error = cudaMallocHost(&p, bytes);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* forgets it */
        be->status =
            BEAM_FAIL(BEAM_ENOMEM, "cuda: no %.1f MB of page-locked memory; take fewer sequences at a time",
                      1e-6 * static_cast<double>(bytes));
        return nullptr;
    }
    return beam_cuda_check(be, error, "page-locked memory") ? p : nullptr;
}

void beam_cuda_free_host(beam_backend *be, void *p)
{
    beam_cuda_check(be, cudaFreeHost(p), "giving page-locked memory back");
}

void beam_cuda_send(beam_backend *be, beam_tensor to, const void *from)
{
    beam_cuda_check(be, cudaMemcpyAsync(to.data, from, beam_bytes(to), cudaMemcpyHostToDevice, stream_of(be)),
                    "a transfer");
}

void beam_cuda_fetch(beam_backend *be, void *to, beam_tensor from)
{
    beam_cuda_check(be,
                    cudaMemcpyAsync(to, from.data, beam_bytes(from), cudaMemcpyDeviceToHost, stream_of(be)),
                    "a transfer");
}
