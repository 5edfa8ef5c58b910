#include <dlfcn.h>
#include <string.h>

#include "kernels/cuda/cudnn_graph.h"

#define QUOTE(x)  QUOTED(x)
#define QUOTED(x) #x

static const struct {
    const char *name;
    size_t at; /* in beam_cudnn_library */
} entry[] = {
    {"cudnnCreate", offsetof(beam_cudnn_library, create)},
    {"cudnnDestroy", offsetof(beam_cudnn_library, destroy)},
    {"cudnnSetStream", offsetof(beam_cudnn_library, set_stream)},
    {"cudnnGetErrorString", offsetof(beam_cudnn_library, error_name)},
    {"cudnnGetVersion", offsetof(beam_cudnn_library, get_version)},
    {"cudnnBackendCreateDescriptor", offsetof(beam_cudnn_library, item_create)},
    {"cudnnBackendDestroyDescriptor", offsetof(beam_cudnn_library, item_destroy)},
    {"cudnnBackendSetAttribute", offsetof(beam_cudnn_library, item_set)},
    {"cudnnBackendGetAttribute", offsetof(beam_cudnn_library, item_get)},
    {"cudnnBackendFinalize", offsetof(beam_cudnn_library, item_finalize)},
    {"cudnnBackendExecute", offsetof(beam_cudnn_library, execute)},
};

const char *beam_cudnn_load(beam_cudnn_library *lib)
{
    *lib = (beam_cudnn_library){.library = dlopen("libcudnn.so." QUOTE(CUDNN_MAJOR), RTLD_NOW | RTLD_LOCAL)};
    if (!lib->library)
        return dlerror();
    for (size_t i = 0; i < sizeof entry / sizeof entry[0]; i++) {
        void *address = dlsym(lib->library, entry[i].name);
        if (!address)
            return dlerror();
        memcpy((char *)lib + entry[i].at, &address, sizeof address);
    }
    lib->version = lib->get_version();
    return NULL;
}

static bool describe(beam_cudnn_library *lib, cudnnBackendAttributeName_t name,
                     cudnnBackendAttributeType_t type, int64_t count, const void *value)
{
    return lib->item_create(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &lib->device) == CUDNN_STATUS_SUCCESS &&
           lib->item_set(lib->device, name, type, count, value) == CUDNN_STATUS_SUCCESS &&
           lib->item_finalize(lib->device) == CUDNN_STATUS_SUCCESS;
}

bool beam_cudnn_use_device(beam_cudnn_library *lib, int32_t device, int major)
{
    lib->major = major;
    return describe(lib, CUDNN_ATTR_DEVICEPROP_DEVICE_ID, CUDNN_TYPE_INT32, 1, &device);
}

bool beam_cudnn_use_description(beam_cudnn_library *lib, const char *json, int major)
{
    lib->major = major;
    return describe(lib, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                    (int64_t)strlen(json) + 1, json);
}

void beam_cudnn_unload(beam_cudnn_library *lib)
{
    if (lib->device)
        lib->item_destroy(lib->device);
    if (lib->library)
        dlclose(lib->library);
    *lib = (beam_cudnn_library){.library = NULL};
}

void beam_cudnn_graph_open(beam_cudnn_graph *g, const beam_cudnn_library *lib)
{
    *g = (beam_cudnn_graph){.lib = lib, .next_virtual = 100, .status = CUDNN_STATUS_SUCCESS};
}

void beam_cudnn_graph_close(beam_cudnn_graph *g)
{
    while (g->items > 0)
        g->lib->item_destroy(g->item[--g->items]);
    g->operations = 0;
}

static void note(beam_cudnn_graph *g, cudnnStatus_t status)
{
    if (g->status == CUDNN_STATUS_SUCCESS)
        g->status = status;
}

beam_cudnn_item beam_cudnn_make(beam_cudnn_graph *g, cudnnBackendDescriptorType_t type)
{
    beam_cudnn_item item = NULL;
    if (g->items == BEAM_CUDNN_ITEMS)
        note(g, CUDNN_STATUS_INTERNAL_ERROR);
    if (g->status == CUDNN_STATUS_SUCCESS)
        note(g, g->lib->item_create(type, &item));
    if (item)
        g->item[g->items++] = item;
    return item;
}

void beam_cudnn_set(beam_cudnn_graph *g, beam_cudnn_item item, cudnnBackendAttributeName_t name,
                    cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    if (g->status == CUDNN_STATUS_SUCCESS)
        note(g, g->lib->item_set(item, name, type, count, values));
}

void beam_cudnn_finish(beam_cudnn_graph *g, beam_cudnn_item item)
{
    if (g->status == CUDNN_STATUS_SUCCESS)
        note(g, g->lib->item_finalize(item));
}

/* NULL: not set. */
static void set_item(beam_cudnn_graph *g, beam_cudnn_item item, cudnnBackendAttributeName_t name,
                     beam_cudnn_item value)
{
    if (value)
        beam_cudnn_set(g, item, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static beam_cudnn_item finish_operation(beam_cudnn_graph *g, beam_cudnn_item operation, beam_cudnn_item y)
{
    beam_cudnn_finish(g, operation);
    if (g->operations == BEAM_CUDNN_OPERATIONS)
        note(g, CUDNN_STATUS_INTERNAL_ERROR);
    else
        g->operation[g->operations++] = operation;
    return y;
}

beam_cudnn_layout beam_cudnn_packed(int64_t batch, int64_t heads, int64_t rows, int64_t columns)
{
    return (beam_cudnn_layout){{batch, heads, rows, columns},
                               {heads * rows * columns, rows * columns, columns, 1}};
}

static beam_cudnn_item describe_tensor(beam_cudnn_graph *g, int64_t id, beam_cudnn_layout layout,
                                       cudnnDataType_t type, bool is_virtual, bool is_by_value,
                                       beam_cudnn_item offsets)
{
    const int64_t alignment = is_by_value ? 4 : 16;
    const beam_cudnn_item t = beam_cudnn_make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    beam_cudnn_set(g, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    beam_cudnn_set(g, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    beam_cudnn_set(g, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, layout.size);
    beam_cudnn_set(g, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, layout.stride);
    beam_cudnn_set(g, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    beam_cudnn_set(g, t, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    beam_cudnn_set(g, t, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &is_by_value);
    set_item(g, t, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC, offsets);
    beam_cudnn_finish(g, t);
    return t;
}

beam_cudnn_item beam_cudnn_tensor(beam_cudnn_graph *g, int64_t id, beam_cudnn_layout layout,
                                  cudnnDataType_t type, beam_cudnn_item offsets)
{
    return describe_tensor(g, id, layout, type, false, false, offsets);
}

beam_cudnn_item beam_cudnn_scalar(beam_cudnn_graph *g, int64_t id)
{
    return describe_tensor(g, id, beam_cudnn_packed(1, 1, 1, 1), CUDNN_DATA_FLOAT, false, true, NULL);
}

beam_cudnn_item beam_cudnn_virtual(beam_cudnn_graph *g, beam_cudnn_layout layout, cudnnDataType_t type,
                                   beam_cudnn_item offsets)
{
    return describe_tensor(g, g->next_virtual++, layout, type, true, false, offsets);
}

/* axis -1: none. */
static beam_cudnn_item pointwise(beam_cudnn_graph *g, cudnnPointwiseMode_t mode, cudnnDataType_t precision,
                                 int64_t axis, beam_cudnn_item x, beam_cudnn_item b,
                                 beam_cudnn_item condition, beam_cudnn_item y)
{
    const beam_cudnn_item what = beam_cudnn_make(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    beam_cudnn_set(g, what, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    beam_cudnn_set(g, what, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &precision);
    if (axis >= 0)
        beam_cudnn_set(g, what, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &axis);
    beam_cudnn_finish(g, what);
    const beam_cudnn_item operation = beam_cudnn_make(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_item(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what);
    set_item(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    set_item(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    set_item(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, condition);
    set_item(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    return finish_operation(g, operation, y);
}

beam_cudnn_item beam_cudnn_pointwise(beam_cudnn_graph *g, cudnnPointwiseMode_t mode,
                                     cudnnDataType_t precision, beam_cudnn_item x, beam_cudnn_item b,
                                     beam_cudnn_item y)
{
    return pointwise(g, mode, precision, -1, x, b, NULL, y);
}

beam_cudnn_item beam_cudnn_select(beam_cudnn_graph *g, beam_cudnn_item condition, beam_cudnn_item x,
                                  beam_cudnn_item b, beam_cudnn_item y)
{
    return pointwise(g, CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT, -1, x, b, condition, y);
}

beam_cudnn_item beam_cudnn_index(beam_cudnn_graph *g, beam_cudnn_item x, int64_t axis, beam_cudnn_item y)
{
    return pointwise(g, CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_INT32, axis, x, NULL, NULL, y);
}

beam_cudnn_item beam_cudnn_reduce(beam_cudnn_graph *g, cudnnReduceTensorOp_t op, beam_cudnn_item x,
                                  beam_cudnn_item y)
{
    const cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    const beam_cudnn_item what = beam_cudnn_make(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    beam_cudnn_set(g, what, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &op);
    beam_cudnn_set(g, what, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &precision);
    beam_cudnn_finish(g, what);
    const beam_cudnn_item operation = beam_cudnn_make(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    set_item(g, operation, CUDNN_ATTR_OPERATION_REDUCTION_DESC, what);
    set_item(g, operation, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    set_item(g, operation, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    return finish_operation(g, operation, y);
}

beam_cudnn_item beam_cudnn_reshape(beam_cudnn_graph *g, beam_cudnn_item x, beam_cudnn_item y)
{
    const beam_cudnn_item operation = beam_cudnn_make(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    set_item(g, operation, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    set_item(g, operation, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    return finish_operation(g, operation, y);
}

beam_cudnn_item beam_cudnn_matmul(beam_cudnn_graph *g, beam_cudnn_item a, beam_cudnn_item b,
                                  beam_cudnn_lengths lengths, beam_cudnn_item y)
{
    const cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    const beam_cudnn_item what = beam_cudnn_make(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    beam_cudnn_set(g, what, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &precision);
    beam_cudnn_finish(g, what);
    const beam_cudnn_item operation = beam_cudnn_make(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    set_item(g, operation, CUDNN_ATTR_OPERATION_MATMUL_DESC, what);
    set_item(g, operation, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    set_item(g, operation, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    set_item(g, operation, CUDNN_ATTR_OPERATION_MATMUL_CDESC, y);
    set_item(g, operation, CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, lengths.m);
    set_item(g, operation, CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, lengths.n);
    set_item(g, operation, CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, lengths.k);
    return finish_operation(g, operation, y);
}
