/* GPUs, for whoever chooses a backend. Every program links this, built with CUDA or not. */
#ifndef BEAM_KERNELS_CUDA_DEVICES_H
#define BEAM_KERNELS_CUDA_DEVICES_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BEAM_MAX_GPUS = 16 };

typedef struct {
    char name[256];
    size_t memory;    /* bytes */
    int major, minor; /* compute capability */
    int processors;   /* streaming multiprocessors */
} beam_cuda_device;

/* Whether the program has GPU kernels at all. */
bool beam_cuda_compiled(void);

/* Describes the first `most` devices and returns how many there are: 0 without a driver. */
int beam_cuda_devices(beam_cuda_device *list, int most);

/* Opens a device. real is f32, or bf16 with wide = f32. BEAM_EDEVICE with what is missing: kernels in this
 * build, a driver, that device, or code for its architecture. Close with beam_backend_close. */
beam_status beam_backend_cuda(beam_backend *out, int device, beam_dtype real);

#ifdef __cplusplus
}
#endif
#endif
