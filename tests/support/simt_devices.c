/* The simulated device in place of the GPUs of kernels/cuda/devices.h: for programs that test on the host
 * what `backend: cuda` does. */
#include <string.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/devices.h"

bool beam_cuda_compiled(void)
{
    return true;
}

int beam_cuda_devices(beam_cuda_device *list, int most)
{
    if (most > 0)
        list[0] = (beam_cuda_device){.name = "simulated", .memory = (size_t)1 << 34, .major = 9};
    return 1;
}

beam_status beam_backend_cuda(beam_backend *out, int device, beam_dtype real)
{
    BEAM_ASSERT(device == 0);
    return beam_backend_simt(out, real);
}
