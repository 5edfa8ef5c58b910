/* Tensors of a backend's memory, for tests that compare its results bit for bit. The test fails where there
 * is no memory; the caller frees with beam_free. */
#ifndef BEAM_TESTS_OPS_DEVICE_TENSOR_H
#define BEAM_TESTS_OPS_DEVICE_TENSOR_H

#include "kernels/ops.h"

/* Not filled. */
beam_tensor device_tensor(beam_backend *be, beam_dtype t, int ndim, const int64_t dim[]);

/* Real, of random normal numbers that repeat after `period`. */
beam_tensor device_tensor_filled(beam_backend *be, uint64_t stream, int64_t period, int ndim,
                                 const int64_t dim[]);

#endif
