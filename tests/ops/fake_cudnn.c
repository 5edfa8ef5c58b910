/* A library that plays cuDNN on the processor: it keeps the descriptors it is given and computes their graph
 * with plain loops, over memory that the host can read. So the graphs of kernels/cuda/cudnn_attention.c, the
 * addresses they are bound to and their scratch are held to the reference without a GPU. It is strict where
 * cuDNN may read what it likes: beyond the end of a sequence everything is NaN, and nothing is written.
 *
 * It cannot refuse a graph; that is asked of cuDNN itself (tests/model/cudnn.c). Its version is that of
 * FAKE_CUDNN in the environment. */
#include <cudnn_graph.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/bf16.h"
#include "core/status.h"

enum { ATTRIBUTES = 16 };

typedef struct item {
    cudnnBackendDescriptorType_t type;
    struct {
        cudnnBackendAttributeName_t name;
        int64_t count;
        void *values;
    } attribute[ATTRIBUTES];
    int attributes;
    bool finished;
    /* Of a tensor while a graph runs. */
    struct {
        const int64_t *size, *stride;
        cudnnDataType_t type;
        float *inside;        /* virtual */
        void *address;        /* in memory */
        const int64_t *begin; /* of its sequences, or NULL, in units of which a token has so many: */
        int64_t unit;
    } now;
} item;

static int executed;

/* Graphs that ran. */
int fake_cudnn_executed(void);
int fake_cudnn_executed(void)
{
    return executed;
}

size_t cudnnGetVersion(void)
{
    const char *version = getenv("FAKE_CUDNN");
    return version ? strtoul(version, NULL, 10) : 0;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    return status == CUDNN_STATUS_SUCCESS ? "CUDNN_STATUS_SUCCESS" : "CUDNN_STATUS_BAD_PARAM";
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    *handle = NULL;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    (void)handle;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    (void)handle;
    (void)stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out)
{
    item *made = calloc(1, sizeof *made);
    BEAM_ASSERT(made);
    made->type = type;
    *out = made;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t which)
{
    item *x = which;
    for (int i = 0; i < x->attributes; i++)
        free(x->attribute[i].values);
    free(x);
    return CUDNN_STATUS_SUCCESS;
}

static size_t size_of(cudnnBackendAttributeType_t type)
{
    switch (type) {
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
    case CUDNN_TYPE_VOID_PTR:
        return 8;
    case CUDNN_TYPE_BOOLEAN:
    case CUDNN_TYPE_CHAR:
        return 1;
    default:
        return 4;
    }
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t which, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    item *x = which;
    if (x->finished || x->attributes == ATTRIBUTES || count < 1)
        return CUDNN_STATUS_BAD_PARAM;
    const size_t bytes = (size_t)count * size_of(type);
    void *copy = malloc(bytes);
    BEAM_ASSERT(copy);
    memcpy(copy, values, bytes);
    x->attribute[x->attributes].name = name;
    x->attribute[x->attributes].count = count;
    x->attribute[x->attributes++].values = copy;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t which)
{
    item *x = which;
    x->finished = true;
    return CUDNN_STATUS_SUCCESS;
}

static const void *find(const item *x, cudnnBackendAttributeName_t name, int64_t *count)
{
    for (int i = 0; i < x->attributes; i++)
        if (x->attribute[i].name == name) {
            if (count)
                *count = x->attribute[i].count;
            return x->attribute[i].values;
        }
    return NULL;
}

/* One that must be there. */
static const void *need(const item *x, cudnnBackendAttributeName_t name)
{
    const void *values = find(x, name, NULL);
    BEAM_ASSERT(values);
    return values;
}

/* NULL: none. */
static item *link_of(const item *x, cudnnBackendAttributeName_t name)
{
    item *const *values = find(x, name, NULL);
    return values ? *values : NULL;
}

/* One engine for every graph, without notes, with a little workspace. */
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t which, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t most, int64_t *count,
                                       void *values)
{
    const item *x = which;
    (void)type;
    *count = 1;
    if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS && most > 0) {
        item *graph = link_of(x, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH), *choice = *(item **)values;
        return cudnnBackendSetAttribute(choice, CUDNN_ATTR_ENGINE_OPERATION_GRAPH,
                                        CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    }
    if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE)
        *count = 0;
    else if (name == CUDNN_ATTR_ENGINE_GLOBAL_INDEX)
        *(int64_t *)values = 2;
    else if (name == CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE || name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)
        *(int64_t *)values = 1000;
    else if (name != CUDNN_ATTR_ENGINECFG_ENGINE)
        return CUDNN_STATUS_BAD_PARAM;
    return CUDNN_STATUS_SUCCESS;
}

/* A graph that runs, and its addresses. */
typedef struct {
    item *const *operation;
    int64_t operations, addresses;
    const int64_t *id;
    void *const *address;
} running;

static void *address_of(const running *r, const item *t)
{
    const int64_t id = *(const int64_t *)need(t, CUDNN_ATTR_TENSOR_UNIQUE_ID);
    for (int64_t i = 0; i < r->addresses; i++)
        if (r->id[i] == id)
            return r->address[i];
    BEAM_ASSERT(!"a tensor without an address");
    return NULL;
}

/* Elements between tokens: the larger stride of the last two axes. */
static int64_t row_of(const item *t)
{
    const int64_t *stride = need(t, CUDNN_ATTR_TENSOR_STRIDES);
    return stride[2] > stride[3] ? stride[2] : stride[3];
}

static const cudnnBackendAttributeName_t operands[] = {
    CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
    CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
    CUDNN_ATTR_OPERATION_POINTWISE_TDESC,
    CUDNN_ATTR_OPERATION_POINTWISE_YDESC,
    CUDNN_ATTR_OPERATION_REDUCTION_XDESC,
    CUDNN_ATTR_OPERATION_REDUCTION_YDESC,
    CUDNN_ATTR_OPERATION_RESHAPE_XDESC,
    CUDNN_ATTR_OPERATION_RESHAPE_YDESC,
    CUDNN_ATTR_OPERATION_MATMUL_ADESC,
    CUDNN_ATTR_OPERATION_MATMUL_BDESC,
    CUDNN_ATTR_OPERATION_MATMUL_CDESC,
    CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC,
    CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC,
    CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC,
};
enum { OPERANDS = sizeof operands / sizeof operands[0] };

/* Offsets that several tensors share are those of the narrowest. */
static int64_t narrowest(const running *r, const item *offsets)
{
    int64_t least = INT64_MAX;
    for (int64_t i = 0; i < r->operations; i++)
        for (int j = 0; j < OPERANDS; j++) {
            const item *t = link_of(r->operation[i], operands[j]);
            if (t && link_of(t, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC) == offsets && row_of(t) < least)
                least = row_of(t);
        }
    return least;
}

static void prepare(const running *r, item *t)
{
    const item *offsets = link_of(t, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC);
    if (t->now.size)
        return;
    t->now.size = need(t, CUDNN_ATTR_TENSOR_DIMENSIONS);
    t->now.stride = need(t, CUDNN_ATTR_TENSOR_STRIDES);
    t->now.type = *(const cudnnDataType_t *)need(t, CUDNN_ATTR_TENSOR_DATA_TYPE);
    if (*(const bool *)need(t, CUDNN_ATTR_TENSOR_IS_VIRTUAL)) {
        const int64_t *n = t->now.size;
        t->now.inside = malloc((size_t)(n[0] * n[1] * n[2] * n[3]) * sizeof *t->now.inside);
        BEAM_ASSERT(t->now.inside);
        return;
    }
    t->now.address = address_of(r, t);
    if (offsets) {
        t->now.begin = address_of(r, offsets);
        t->now.unit = narrowest(r, offsets);
    }
}

static void forget(const running *r, item *t)
{
    (void)r;
    free(t->now.inside);
    memset(&t->now, 0, sizeof t->now);
}

static void for_all_operands(const running *r, void (*f)(const running *, item *))
{
    for (int64_t i = 0; i < r->operations; i++)
        for (int j = 0; j < OPERANDS; j++) {
            item *t = link_of(r->operation[i], operands[j]);
            if (t)
                f(r, t);
        }
}

/* Place of an element in memory, or -1: beyond the end of its sequence. */
static int64_t place(const item *t, const int64_t at[4])
{
    const int64_t *stride = t->now.stride, *begin = t->now.begin, unit = t->now.unit;
    const int64_t within = at[1] * stride[1] + at[2] * stride[2] + at[3] * stride[3];
    if (!begin)
        return at[0] * stride[0] + within;
    const int64_t token = stride[2] > stride[3] ? at[2] : at[3],
                  row = stride[2] > stride[3] ? stride[2] : stride[3];
    const bool is_in = token * unit < begin[at[0] + 1] - begin[at[0]];
    return is_in ? begin[at[0]] / unit * row + within : -1;
}

static int64_t place_inside(const item *t, const int64_t at[4])
{
    const int64_t *n = t->now.size;
    return ((at[0] * n[1] + at[1]) * n[2] + at[2]) * n[3] + at[3];
}

static double load(const item *t, const int64_t at[4])
{
    if (t->now.inside)
        return (double)t->now.inside[place_inside(t, at)];
    const int64_t i = place(t, at);
    if (i < 0)
        return NAN;
    switch (t->now.type) {
    case CUDNN_DATA_FLOAT:
        return (double)((const float *)t->now.address)[i];
    case CUDNN_DATA_INT32:
        return ((const int32_t *)t->now.address)[i];
    default:
        BEAM_ASSERT(t->now.type == CUDNN_DATA_BFLOAT16);
        return (double)beam_bf16_to_f32(((const uint16_t *)t->now.address)[i]);
    }
}

static void store(item *t, const int64_t at[4], double x)
{
    if (t->now.inside) {
        t->now.inside[place_inside(t, at)] = (float)x;
        return;
    }
    const int64_t i = place(t, at);
    if (i >= 0 && t->now.type == CUDNN_DATA_FLOAT)
        ((float *)t->now.address)[i] = (float)x;
    else if (i >= 0)
        ((uint16_t *)t->now.address)[i] = beam_f32_to_bf16((float)x);
}

/* Where x is one wide, the same element serves all. */
static double load_spread(const item *x, const int64_t at[4])
{
    const int64_t *n = x->now.size;
    const int64_t from[4] = {n[0] == 1 ? 0 : at[0], n[1] == 1 ? 0 : at[1], n[2] == 1 ? 0 : at[2],
                             n[3] == 1 ? 0 : at[3]};
    return load(x, from);
}

static double combine(cudnnPointwiseMode_t mode, double x, double b, double t)
{
    switch (mode) {
    case CUDNN_POINTWISE_ADD:
        return x + b;
    case CUDNN_POINTWISE_SUB:
        return x - b;
    case CUDNN_POINTWISE_MUL:
        return x * b;
    case CUDNN_POINTWISE_DIV:
        return x / b;
    case CUDNN_POINTWISE_EXP:
        return exp(x);
    case CUDNN_POINTWISE_LOG:
        return log(x);
    case CUDNN_POINTWISE_IDENTITY:
        return x;
    case CUDNN_POINTWISE_CMP_LT:
        return x < b;
    case CUDNN_POINTWISE_CMP_GE:
        return x >= b;
    case CUDNN_POINTWISE_LOGICAL_AND:
        return x != 0 && b != 0;
    default:
        BEAM_ASSERT(mode == CUDNN_POINTWISE_BINARY_SELECT);
        return t != 0 ? x : b;
    }
}

/* Goes over all elements of a tensor. */
static bool next(const item *t, int64_t at[4])
{
    for (int i = 3; i >= 0; i--) {
        if (++at[i] < t->now.size[i])
            return true;
        at[i] = 0;
    }
    return false;
}

static void run_pointwise(const item *op)
{
    const item *what = link_of(op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    const cudnnPointwiseMode_t mode = *(const cudnnPointwiseMode_t *)need(what, CUDNN_ATTR_POINTWISE_MODE);
    const item *x = link_of(op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC),
               *b = link_of(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC),
               *t = link_of(op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC);
    item *y = link_of(op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
    int64_t at[4] = {0};
    do {
        double result;
        if (mode == CUDNN_POINTWISE_GEN_INDEX)
            result = (double)at[*(const int64_t *)need(what, CUDNN_ATTR_POINTWISE_AXIS)];
        else
            result =
                combine(mode, load_spread(x, at), b ? load_spread(b, at) : 0, t ? load_spread(t, at) : 0);
        store(y, at, result);
    } while (next(y, at));
}

/* Over heads, in runs of those that share, or over columns. */
static void run_reduction(const item *op)
{
    const item *what = link_of(op, CUDNN_ATTR_OPERATION_REDUCTION_DESC),
               *x = link_of(op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC);
    const cudnnReduceTensorOp_t by =
        *(const cudnnReduceTensorOp_t *)need(what, CUDNN_ATTR_REDUCTION_OPERATOR);
    item *y = link_of(op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC);
    const int64_t heads = x->now.size[1] / y->now.size[1], columns = x->now.size[3] / y->now.size[3];
    int64_t at[4] = {0};
    do {
        double result = by == CUDNN_REDUCE_TENSOR_MAX ? -INFINITY : 0;
        for (int64_t i = 0; i < heads * columns; i++) {
            const int64_t from[4] = {at[0], at[1] * heads + i / columns, at[2],
                                     columns == 1 ? at[3] : i % columns};
            const double value = load(x, from);
            result = by == CUDNN_REDUCE_TENSOR_MAX ? fmax(result, value) : result + value;
        }
        store(y, at, result);
    } while (next(y, at));
}

/* The same memory with its last two axes exchanged. */
static void run_reshape(const item *op)
{
    const item *x = link_of(op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC);
    item *y = link_of(op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC);
    BEAM_ASSERT(x->now.stride[2] == y->now.stride[3] && x->now.stride[3] == y->now.stride[2]);
    int64_t at[4] = {0};
    do
        store(y, at, load(x, (const int64_t[]){at[0], at[1], at[3], at[2]}));
    while (next(y, at));
}

/* The length that an override gives to an entry of the batch, or all. */
static int64_t length_of(const item *op, cudnnBackendAttributeName_t name, int64_t entry, int64_t all)
{
    const item *lengths = link_of(op, name);
    return lengths ? (int64_t)load(lengths, (const int64_t[]){entry, 0, 0, 0}) : all;
}

static void run_matmul(const item *op)
{
    const item *a = link_of(op, CUDNN_ATTR_OPERATION_MATMUL_ADESC),
               *b = link_of(op, CUDNN_ATTR_OPERATION_MATMUL_BDESC);
    item *y = link_of(op, CUDNN_ATTR_OPERATION_MATMUL_CDESC);
    const int64_t share = y->now.size[1] / b->now.size[1];
    int64_t at[4] = {0};
    do {
        const int64_t rows = length_of(op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, at[0],
                                       a->now.size[2]),
                      columns = length_of(op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, at[0],
                                          b->now.size[3]),
                      inner = length_of(op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, at[0],
                                        a->now.size[3]);
        double sum = at[2] < rows && at[3] < columns ? 0 : NAN;
        for (int64_t k = 0; k < inner && !isnan(sum); k++)
            sum += load(a, (const int64_t[]){at[0], at[1], at[2], k}) *
                   load(b, (const int64_t[]){at[0], at[1] / share, k, at[3]});
        store(y, at, sum);
    } while (next(y, at));
}

static void run(const item *op)
{
    if (op->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
        run_pointwise(op);
    else if (op->type == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR)
        run_reduction(op);
    else if (op->type == CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR)
        run_reshape(op);
    else
        run_matmul(op);
}

/* A configuration has its graph from the engine, or from the heuristic that proposed it. */
static const item *graph_of(const item *plan)
{
    const item *choice = link_of(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG),
               *engine = link_of(choice, CUDNN_ATTR_ENGINECFG_ENGINE);
    return link_of(engine ? engine : choice, CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack)
{
    (void)handle;
    running r;
    r.operation = find(graph_of(plan), CUDNN_ATTR_OPERATIONGRAPH_OPS, &r.operations);
    r.id = find(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &r.addresses);
    r.address = find(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, NULL);
    memset(*(void *const *)need(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE), 0xff, 1000);
    for_all_operands(&r, prepare);
    for (int64_t i = 0; i < r.operations; i++)
        run(r.operation[i]);
    for_all_operands(&r, forget);
    executed++;
    return CUDNN_STATUS_SUCCESS;
}
