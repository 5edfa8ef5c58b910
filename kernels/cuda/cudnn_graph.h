/* Graphs of cuDNN's backend API from C: the library, which is loaded at run time, and the descriptors that a
 * graph is made of. Compiled only where cuDNN's headers are; the library itself is large and need not
 * be there, neither to build nor to start. */
#ifndef BEAM_KERNELS_CUDA_CUDNN_GRAPH_H
#define BEAM_KERNELS_CUDA_CUDNN_GRAPH_H

#include <cudnn_graph.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef cudnnBackendDescriptor_t beam_cudnn_item; /* any descriptor */

typedef struct {
    void *library; /* of dlopen */
    size_t version;
    int major;              /* compute capability of the device */
    beam_cudnn_item device; /* properties of the GPU that graphs are for */

    cudnnStatus_t (*create)(cudnnHandle_t *handle);
    cudnnStatus_t (*destroy)(cudnnHandle_t handle);
    cudnnStatus_t (*set_stream)(cudnnHandle_t handle, cudaStream_t stream);
    const char *(*error_name)(cudnnStatus_t status);
    size_t (*get_version)(void);
    cudnnStatus_t (*item_create)(cudnnBackendDescriptorType_t type, beam_cudnn_item *item);
    cudnnStatus_t (*item_destroy)(beam_cudnn_item item);
    cudnnStatus_t (*item_set)(beam_cudnn_item item, cudnnBackendAttributeName_t name,
                              cudnnBackendAttributeType_t type, int64_t count, const void *values);
    cudnnStatus_t (*item_get)(beam_cudnn_item item, cudnnBackendAttributeName_t name,
                              cudnnBackendAttributeType_t type, int64_t most, int64_t *count, void *values);
    cudnnStatus_t (*item_finalize)(beam_cudnn_item item);
    cudnnStatus_t (*execute)(cudnnHandle_t handle, beam_cudnn_item plan, beam_cudnn_item pack);
} beam_cudnn_library;

/* Loads libcudnn.so.9. NULL, or why it cannot, to be used before the next call of dlopen and its like. */
const char *beam_cudnn_load(beam_cudnn_library *lib);

/* What graphs are made for: device number `device` of this machine, or one that is described by a JSON text,
 * which needs no GPU (tests/fixtures/devices). `major` is its compute capability. False if cuDNN refuses. */
bool beam_cudnn_use_device(beam_cudnn_library *lib, int32_t device, int major);
bool beam_cudnn_use_description(beam_cudnn_library *lib, const char *json, int major);

/* Accepts what was never loaded, zeroed. */
void beam_cudnn_unload(beam_cudnn_library *lib);

enum { BEAM_CUDNN_ITEMS = 192, BEAM_CUDNN_OPERATIONS = 40 };

/* A graph under construction, then built. Functions below do nothing once one has failed. It keeps all its
 * descriptors until it is closed. */
typedef struct {
    const beam_cudnn_library *lib;
    beam_cudnn_item item[BEAM_CUDNN_ITEMS], operation[BEAM_CUDNN_OPERATIONS];
    int items, operations;
    int64_t next_virtual; /* id */
    cudnnStatus_t status; /* sticky: the first failure */
} beam_cudnn_graph;

void beam_cudnn_graph_open(beam_cudnn_graph *g, const beam_cudnn_library *lib);
void beam_cudnn_graph_close(beam_cudnn_graph *g); /* zeroed is accepted */

/* A descriptor of the graph, and its making: beam_cudnn_set any number of times, then beam_cudnn_finish. */
beam_cudnn_item beam_cudnn_make(beam_cudnn_graph *g, cudnnBackendDescriptorType_t type);
void beam_cudnn_set(beam_cudnn_graph *g, beam_cudnn_item item, cudnnBackendAttributeName_t name,
                    cudnnBackendAttributeType_t type, int64_t count, const void *values);
void beam_cudnn_finish(beam_cudnn_graph *g, beam_cudnn_item item);

/* Of batch, head, row, column; strides in elements. */
typedef struct {
    int64_t size[4], stride[4];
} beam_cudnn_layout;

/* With rows of columns one after another. */
beam_cudnn_layout beam_cudnn_packed(int64_t batch, int64_t heads, int64_t rows, int64_t columns);

/* A tensor in memory, bound to an address by its id (1 to 99) when the graph runs. With `offsets`, an i64
 * tensor [batch + 1], its entries of the batch begin there, counted in elements, instead of a batch stride
 * apart. */
beam_cudnn_item beam_cudnn_tensor(beam_cudnn_graph *g, int64_t id, beam_cudnn_layout layout,
                                  cudnnDataType_t type, beam_cudnn_item offsets);
/* A float that is given by value when the graph runs. */
beam_cudnn_item beam_cudnn_scalar(beam_cudnn_graph *g, int64_t id);
/* What lives inside the kernel only. */
beam_cudnn_item beam_cudnn_virtual(beam_cudnn_graph *g, beam_cudnn_layout layout, cudnnDataType_t type,
                                   beam_cudnn_item offsets);

/* Operations, which return their last argument. */

/* y = mode(x, b), b of a size that y's is a multiple of; b NULL: of x alone. `precision` is of the
 * computation. */
beam_cudnn_item beam_cudnn_pointwise(beam_cudnn_graph *g, cudnnPointwiseMode_t mode,
                                     cudnnDataType_t precision, beam_cudnn_item x, beam_cudnn_item b,
                                     beam_cudnn_item y);
/* y = condition ? x : b */
beam_cudnn_item beam_cudnn_select(beam_cudnn_graph *g, beam_cudnn_item condition, beam_cudnn_item x,
                                  beam_cudnn_item b, beam_cudnn_item y);
/* y[i] = place of element i of x along an axis */
beam_cudnn_item beam_cudnn_index(beam_cudnn_graph *g, beam_cudnn_item x, int64_t axis, beam_cudnn_item y);
/* Over the axes in which y is smaller. */
beam_cudnn_item beam_cudnn_reduce(beam_cudnn_graph *g, cudnnReduceTensorOp_t op, beam_cudnn_item x,
                                  beam_cudnn_item y);
beam_cudnn_item beam_cudnn_reshape(beam_cudnn_graph *g, beam_cudnn_item x, beam_cudnn_item y);

/* i32 tensors [batch], NULL: all. */
typedef struct {
    beam_cudnn_item m, n, k;
} beam_cudnn_lengths;

/* y[m,n] = a[m,k] b[k,n], of the first rows and columns of each entry of the batch. Heads of b and y that are
 * fewer serve several of a. */
beam_cudnn_item beam_cudnn_matmul(beam_cudnn_graph *g, beam_cudnn_item a, beam_cudnn_item b,
                                  beam_cudnn_lengths lengths, beam_cudnn_item y);

#endif
