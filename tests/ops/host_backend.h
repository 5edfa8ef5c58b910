/* The backend of tests that look at its memory: the CPU's, or with BEAM_TEST_SIMT the device's kernels on the
 * processor. */
#ifndef BEAM_TESTS_OPS_HOST_BACKEND_H
#define BEAM_TESTS_OPS_HOST_BACKEND_H

#include "kernels/backend.h"

#ifdef BEAM_TEST_SIMT
#include "kernels/cuda/cuda.h"

static inline beam_status op_open_host_backend(beam_backend *be)
{
    return beam_backend_simt(be, BEAM_F32);
}
#else
static inline beam_status op_open_host_backend(beam_backend *be)
{
    return beam_backend_cpu(be, 2);
}
#endif

#endif
