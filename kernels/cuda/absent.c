/* What programs find in place of the CUDA backend when they are built without nvcc. */
#include "kernels/cuda/devices.h"

bool beam_cuda_compiled(void)
{
    return false;
}

int beam_cuda_devices(beam_cuda_device *list, int most)
{
    (void)list;
    (void)most;
    return 0;
}

beam_status beam_backend_cuda(beam_backend *out, int device, beam_dtype real)
{
    (void)device;
    (void)real;
    *out = (beam_backend){.status = BEAM_EDEVICE};
    return BEAM_FAIL(BEAM_EDEVICE,
                     "backend: cuda is not part of this build (it needs nvcc); use backend: cpu or auto");
}
