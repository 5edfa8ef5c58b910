/* A view of a dense row-major block. Owns nothing, has no strides, is passed by value.
 * A tensor whose data is NULL stands for "absent" where a function says that an argument is optional. */
#ifndef BEAM_CORE_TENSOR_H
#define BEAM_CORE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { BEAM_F32, BEAM_F64, BEAM_BF16, BEAM_F16, BEAM_I32, BEAM_I64, BEAM_U8 } beam_dtype;

enum { BEAM_MAX_DIM = 4 };

typedef struct {
    void *data;                /* host or device memory */
    int64_t dim[BEAM_MAX_DIM]; /* dim[0] varies slowest; unused dims are 1 */
    int ndim;                  /* "rank" is kept for MPI */
    beam_dtype dtype;
} beam_tensor;

/* Bytes of one element. */
size_t beam_dtype_size(beam_dtype t);

/* "f32", "bf16", ... */
const char *beam_dtype_name(beam_dtype t);

/* A view of `data`, which stays the caller's. Every dim is >= 0. */
beam_tensor beam_view(void *data, beam_dtype t, int ndim, const int64_t dim[]);

/* Number of elements, and of bytes. */
int64_t beam_count(beam_tensor t);
size_t beam_bytes(beam_tensor t);

/* Equal number of dims and equal dims; dtypes may differ. */
bool beam_same_shape(beam_tensor a, beam_tensor b);

/* The same block seen with other dims of equal product. */
beam_tensor beam_reshape(beam_tensor t, int ndim, const int64_t dim[]);

/* Rows [first, first + n) of dim 0. */
beam_tensor beam_rows(beam_tensor t, int64_t first, int64_t n);

#define BEAM_DIMS(...)                                                                                       \
    (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[])                       \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }

#ifdef __cplusplus
}
#endif
#endif
