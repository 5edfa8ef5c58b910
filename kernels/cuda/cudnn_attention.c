/* The engines know attention by the pattern of these operations, not by a name: which operations there are,
 * and in which order, is what NVIDIA's cudnn-frontend gives them, and every change needs the test
 * (tests/model/cudnn.c). */
#include "kernels/cuda/cudnn_attention.h"

static const cudnnDataType_t bf16 = CUDNN_DATA_BFLOAT16, f32 = CUDNN_DATA_FLOAT, i32 = CUDNN_DATA_INT32,
                             flag = CUDNN_DATA_BOOLEAN;

/* What every part of a graph needs. */
typedef struct {
    beam_cudnn_graph *g;
    const beam_cudnn_shape *shape;
    beam_cudnn_layout scores; /* [sequences, heads, tokens, tokens] */
    beam_cudnn_item at_q, at_k, at_v, at_out, at_row, queries, keys, scale, lowest;
} attention;

static attention begin(beam_cudnn_graph *g, const beam_cudnn_shape *s)
{
    const beam_cudnn_layout places = beam_cudnn_packed(s->sequences + 1, 1, 1, 1),
                            lengths = beam_cudnn_packed(s->sequences, 1, 1, 1);
    const cudnnDataType_t i64 = CUDNN_DATA_INT64;
    return (attention){
        .g = g,
        .shape = s,
        .scores = beam_cudnn_packed(s->sequences, s->heads, s->tokens, s->tokens),
        .at_q = beam_cudnn_tensor(g, BEAM_CUDNN_AT_Q, places, i64, NULL),
        .at_k = beam_cudnn_tensor(g, BEAM_CUDNN_AT_K, places, i64, NULL),
        .at_v = beam_cudnn_tensor(g, BEAM_CUDNN_AT_V, places, i64, NULL),
        .at_out = beam_cudnn_tensor(g, BEAM_CUDNN_AT_OUT, places, i64, NULL),
        .at_row = beam_cudnn_tensor(g, BEAM_CUDNN_AT_ROW, places, i64, NULL),
        .queries = beam_cudnn_tensor(g, BEAM_CUDNN_QUERIES, lengths, i32, NULL),
        .keys = beam_cudnn_tensor(g, BEAM_CUDNN_KEYS, lengths, i32, NULL),
        .scale = beam_cudnn_scalar(g, BEAM_CUDNN_SCALE),
        .lowest = beam_cudnn_scalar(g, BEAM_CUDNN_LOWEST),
    };
}

/* [tokens, heads, width] in memory, seen as sequence, head, token, number. */
static beam_cudnn_layout rows_of(const beam_cudnn_shape *s, int64_t heads, int64_t width)
{
    return (beam_cudnn_layout){{s->sequences, heads, s->tokens, width},
                               {s->tokens * heads * width, width, heads * width, 1}};
}

/* With the last two axes exchanged. */
static beam_cudnn_layout turned(beam_cudnn_layout x)
{
    return (beam_cudnn_layout){{x.size[0], x.size[1], x.size[3], x.size[2]},
                               {x.stride[0], x.stride[1], x.stride[3], x.stride[2]}};
}

/* x is [sequences, heads, tokens, tokens]. */
static beam_cudnn_item combine(const attention *a, cudnnPointwiseMode_t mode, beam_cudnn_item x,
                               beam_cudnn_item b, cudnnDataType_t type)
{
    return beam_cudnn_pointwise(a->g, mode, f32, x, b, beam_cudnn_virtual(a->g, a->scores, type, NULL));
}

static beam_cudnn_item compare(const attention *a, cudnnPointwiseMode_t mode, beam_cudnn_item x,
                               beam_cudnn_item b)
{
    return beam_cudnn_pointwise(a->g, mode, flag, x, b, beam_cudnn_virtual(a->g, a->scores, flag, NULL));
}

static beam_cudnn_item index_of(const attention *a, beam_cudnn_item scores, int64_t axis)
{
    return beam_cudnn_index(a->g, scores, axis, beam_cudnn_virtual(a->g, a->scores, i32, NULL));
}

/* Minus infinity where the condition is not met. */
static beam_cudnn_item keep(const attention *a, beam_cudnn_item condition, beam_cudnn_item scores)
{
    return beam_cudnn_select(a->g, condition, scores, a->lowest,
                             beam_cudnn_virtual(a->g, a->scores, f32, NULL));
}

/* Two masks, because this is how the engines know them: the sequence's own rows and columns, then those not
 * after the query. */
static beam_cudnn_item mask(const attention *a, beam_cudnn_item scores)
{
    const beam_cudnn_item row = index_of(a, scores, 2), column = index_of(a, scores, 3);
    const beam_cudnn_item row_in = compare(a, CUDNN_POINTWISE_CMP_LT, row, a->queries),
                          column_in = compare(a, CUDNN_POINTWISE_CMP_LT, column, a->keys);
    const beam_cudnn_item own = keep(a, compare(a, CUDNN_POINTWISE_LOGICAL_AND, row_in, column_in), scores);
    const beam_cudnn_item query = index_of(a, own, 2), key = index_of(a, own, 3);
    return keep(a, compare(a, CUDNN_POINTWISE_CMP_GE, query, key), own);
}

/* a b^T of [rows, width] by [columns, width], both per head. */
static beam_cudnn_item score(const attention *a, beam_cudnn_item x, beam_cudnn_item y_turned)
{
    return beam_cudnn_matmul(a->g, x, y_turned, (beam_cudnn_lengths){.m = a->queries, .n = a->keys},
                             beam_cudnn_virtual(a->g, a->scores, f32, NULL));
}

/* Probabilities, and lse = max + log of the sum. */
static beam_cudnn_item softmax(const attention *a, beam_cudnn_item scores, beam_cudnn_item lse)
{
    const beam_cudnn_layout row =
        beam_cudnn_packed(a->shape->sequences, a->shape->heads, a->shape->tokens, 1);
    const beam_cudnn_item top =
        beam_cudnn_reduce(a->g, CUDNN_REDUCE_TENSOR_MAX, scores, beam_cudnn_virtual(a->g, row, f32, NULL));
    const beam_cudnn_item shifted = combine(a, CUDNN_POINTWISE_SUB, scores, top, f32),
                          e = combine(a, CUDNN_POINTWISE_EXP, shifted, NULL, f32);
    const beam_cudnn_item sum =
        beam_cudnn_reduce(a->g, CUDNN_REDUCE_TENSOR_ADD, e, beam_cudnn_virtual(a->g, row, f32, NULL));
    const beam_cudnn_item log_sum = beam_cudnn_pointwise(a->g, CUDNN_POINTWISE_LOG, f32, sum, NULL,
                                                         beam_cudnn_virtual(a->g, row, f32, NULL));
    beam_cudnn_pointwise(a->g, CUDNN_POINTWISE_ADD, f32, top, log_sum, lse);
    return combine(a, CUDNN_POINTWISE_DIV, e, sum, bf16);
}

/* One number per row of q. */
static beam_cudnn_item row_tensor(const attention *a, int64_t id)
{
    return beam_cudnn_tensor(a->g, id, rows_of(a->shape, a->shape->heads, 1), f32, a->at_row);
}

void beam_cudnn_attention(beam_cudnn_graph *g, const beam_cudnn_shape *s)
{
    const attention a = begin(g, s);
    const beam_cudnn_item q = beam_cudnn_tensor(g, BEAM_CUDNN_Q, rows_of(s, s->heads, s->width), bf16,
                                                a.at_q),
                          k = beam_cudnn_tensor(g, BEAM_CUDNN_K, turned(rows_of(s, s->groups, s->width)),
                                                bf16, a.at_k),
                          v = beam_cudnn_tensor(g, BEAM_CUDNN_V, rows_of(s, s->groups, s->value_width), bf16,
                                                a.at_v),
                          out = beam_cudnn_tensor(g, BEAM_CUDNN_OUT, rows_of(s, s->heads, s->value_width),
                                                  bf16, a.at_out);
    const beam_cudnn_item scores = combine(&a, CUDNN_POINTWISE_MUL, score(&a, q, k), a.scale, f32);
    const beam_cudnn_item p = softmax(&a, mask(&a, scores), row_tensor(&a, BEAM_CUDNN_LSE));
    beam_cudnn_matmul(g, p, v, (beam_cudnn_lengths){.m = a.queries, .k = a.keys}, out);
}

/* delta = <dout, out>, times 1: the engines look for a scale of dropout. */
static beam_cudnn_item make_delta(const attention *a, beam_cudnn_item dout, beam_cudnn_item out)
{
    const beam_cudnn_shape *s = a->shape;
    beam_cudnn_layout products = rows_of(s, s->heads, s->value_width);
    products.stride[1] = s->tokens * s->value_width;
    const beam_cudnn_item product = beam_cudnn_pointwise(a->g, CUDNN_POINTWISE_MUL, f32, dout, out,
                                                         beam_cudnn_virtual(a->g, products, f32, NULL));
    const beam_cudnn_layout row = beam_cudnn_packed(s->sequences, s->heads, s->tokens, 1);
    const beam_cudnn_item sum =
        beam_cudnn_reduce(a->g, CUDNN_REDUCE_TENSOR_ADD, product, beam_cudnn_virtual(a->g, row, f32, NULL));
    return beam_cudnn_pointwise(a->g, CUDNN_POINTWISE_MUL, f32, sum, beam_cudnn_scalar(a->g, BEAM_CUDNN_ONE),
                                row_tensor(a, BEAM_CUDNN_DELTA));
}

/* Where a gradient of keys or values goes. */
typedef struct {
    int64_t id, heads_id; /* of the tensor, and of the one with every head */
    int64_t width;
    beam_cudnn_item at;
} key_gradient;

/* weights^T rows, summed over the heads that share a key. Every head's own sum goes to scratch first: left to
 * the engine, it would lie in a workspace of `sequences` times the size. Its offsets are understood as those
 * of the smaller tensor. */
static void add_up_keys(const attention *a, beam_cudnn_item weights, beam_cudnn_item rows, key_gradient to)
{
    const beam_cudnn_shape *s = a->shape;
    const beam_cudnn_lengths lengths = {.m = a->keys, .k = a->queries};
    const beam_cudnn_item weights_turned =
        beam_cudnn_reshape(a->g, weights, beam_cudnn_virtual(a->g, turned(a->scores), bf16, NULL));
    const beam_cudnn_item y = beam_cudnn_tensor(a->g, to.id, rows_of(s, s->groups, to.width), bf16, to.at);
    if (s->heads == s->groups) {
        beam_cudnn_matmul(a->g, weights_turned, rows, lengths, y);
        return;
    }
    const beam_cudnn_item each =
        beam_cudnn_tensor(a->g, to.heads_id, rows_of(s, s->heads, to.width), bf16, to.at);
    beam_cudnn_matmul(a->g, weights_turned, rows, lengths, each);
    beam_cudnn_reduce(a->g, CUDNN_REDUCE_TENSOR_ADD, each, y);
}

/* dq is summed in float, then rounded. */
static void add_up_queries(const attention *a, beam_cudnn_item ds, beam_cudnn_item k_turned)
{
    const beam_cudnn_shape *s = a->shape;
    const beam_cudnn_layout queries = rows_of(s, s->heads, s->width);
    const beam_cudnn_item k = beam_cudnn_reshape(
        a->g, k_turned, beam_cudnn_virtual(a->g, rows_of(s, s->groups, s->width), bf16, a->at_k));
    const beam_cudnn_item sums = beam_cudnn_tensor(a->g, BEAM_CUDNN_DQ_SUMS, queries, f32, a->at_q);
    beam_cudnn_matmul(a->g, ds, k, (beam_cudnn_lengths){.m = a->queries, .k = a->keys}, sums);
    beam_cudnn_pointwise(a->g, CUDNN_POINTWISE_IDENTITY, f32, sums, NULL,
                         beam_cudnn_tensor(a->g, BEAM_CUDNN_DQ, queries, bf16, a->at_q));
}

void beam_cudnn_attention_grad(beam_cudnn_graph *g, const beam_cudnn_shape *s)
{
    const attention a = begin(g, s);
    const beam_cudnn_layout outputs = rows_of(s, s->heads, s->value_width);
    const beam_cudnn_item q = beam_cudnn_tensor(g, BEAM_CUDNN_Q, rows_of(s, s->heads, s->width), bf16,
                                                a.at_q),
                          k = beam_cudnn_tensor(g, BEAM_CUDNN_K, turned(rows_of(s, s->groups, s->width)),
                                                bf16, a.at_k),
                          v = beam_cudnn_tensor(g, BEAM_CUDNN_V,
                                                turned(rows_of(s, s->groups, s->value_width)), bf16, a.at_v),
                          out = beam_cudnn_tensor(g, BEAM_CUDNN_OUT, outputs, bf16, a.at_out),
                          dout = beam_cudnn_tensor(g, BEAM_CUDNN_DOUT, outputs, bf16, a.at_out);
    const beam_cudnn_item delta = make_delta(&a, dout, out);
    const beam_cudnn_item scores = combine(&a, CUDNN_POINTWISE_MUL, score(&a, q, k), a.scale, f32);
    const beam_cudnn_item log_p =
        combine(&a, CUDNN_POINTWISE_SUB, scores, row_tensor(&a, BEAM_CUDNN_LSE), f32);
    const beam_cudnn_item p = combine(&a, CUDNN_POINTWISE_EXP, mask(&a, log_p), NULL, f32);
    add_up_keys(&a, p, dout, (key_gradient){BEAM_CUDNN_DV, BEAM_CUDNN_DV_HEADS, s->value_width, a.at_v});

    const beam_cudnn_item dp = combine(&a, CUDNN_POINTWISE_SUB, score(&a, dout, v), delta, f32);
    const beam_cudnn_item weighed = combine(&a, CUDNN_POINTWISE_MUL, dp, p, f32);
    const beam_cudnn_item ds = combine(&a, CUDNN_POINTWISE_MUL, weighed, a.scale, bf16);
    add_up_keys(&a, ds, q, (key_gradient){BEAM_CUDNN_DK, BEAM_CUDNN_DK_HEADS, s->width, a.at_k});
    add_up_queries(&a, ds, k);
}
