/* What `beam doctor` finds out about the machine and the libraries in use. */
#ifndef BEAM_CLI_MACHINE_H
#define BEAM_CLI_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/host_memory.h"
#include "core/status.h"
#include "data/versions.h"
#include "kernels/cuda/devices.h"

enum { BEAM_MAX_ADVICE = 8 };

typedef struct {
    char processor[128];
    int cores, threads;
    beam_host_memory memory;
    int64_t disk_free; /* bytes, in the current folder */
    double sgemm;      /* FLOP/s reached by a large float32 product on all threads */
    char blas[256];
    bool blas_uses_openmp;
    beam_library_version data[BEAM_DATA_LIBRARIES];
    const char *yaml;
    bool gpu_driver; /* an NVIDIA driver is loaded */
    bool gpu_code;   /* the program has kernels for GPUs */
    beam_cuda_device gpu[BEAM_MAX_GPUS];
    int n_gpus;
    char advice[BEAM_MAX_ADVICE][256];
    int n_advice;
} beam_machine;

/* Takes about a second: sgemm is measured. */
beam_status beam_machine_look(beam_machine *m);

#endif
