/* Attention by cuDNN: which calls it takes, its plans, and their scratch.
 *
 * A plan is for a number of sequences and tokens, both rounded up to powers of two, so that few are made. The
 * same call always takes the same plan, with one version of the library on one kind of device. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/cudnn.h"
#include "kernels/cuda/cudnn_plan.h"

enum {
    OLDEST = 91900, /* version that the graphs were tried with */
    SLOTS = 64,
    FEWEST_TOKENS = 128,
    WIDEST_HEAD = 256,
};

typedef struct {
    beam_cudnn_shape shape;
    bool grad, made, possible;
    beam_cudnn_plan plan;
} slot;

typedef struct {
    beam_cudnn_library lib;
    cudnnHandle_t handle;
    slot slots[SLOTS];
    int next; /* to be made anew when all are taken */
} cudnn;

/* NULL, or what is wrong. */
static const char *set_up(cudnn *c, int device, cudaStream_t stream)
{
    int major = 0;
    const char *reason = beam_cudnn_load(&c->lib);
    if (reason)
        return reason;
    if (c->lib.version < OLDEST)
        return "it is older than 9.19";
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
        c->lib.create(&c->handle) != CUDNN_STATUS_SUCCESS ||
        c->lib.set_stream(c->handle, stream) != CUDNN_STATUS_SUCCESS ||
        !beam_cudnn_use_device(&c->lib, device, major))
        return "it does not work";
    return NULL;
}

void *beam_cuda_cudnn_open(int device, void *stream)
{
    const char *wish = getenv("BEAM_CUDA_CUDNN");
    if (!wish || strcmp(wish, "1") != 0)
        return NULL;
    cudnn *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    const char *reason = set_up(c, device, stream);
    if (!reason) {
        beam_info("cuda: attention by cuDNN %zu, backward %s", c->lib.version,
                  c->lib.version >= BEAM_CUDNN_ORDERED && c->lib.major == 9
                      ? "too"
                      : "by beam's own kernels (only 9.25 and later on an H100 or H200 repeat their bits)");
        return c;
    }
    beam_info("cuda: without cuDNN (%s): attention takes beam's own kernels", reason);
    beam_cuda_cudnn_close(c);
    return NULL;
}

void beam_cuda_cudnn_close(void *opened)
{
    cudnn *c = opened;
    if (!c)
        return;
    for (int i = 0; i < SLOTS; i++)
        beam_cudnn_plan_close(&c->slots[i].plan);
    if (c->handle)
        c->lib.destroy(c->handle);
    beam_cudnn_unload(&c->lib);
    free(c);
}

static bool is_aligned(beam_tensor t)
{
    return (uintptr_t)t.data % 16 == 0;
}

/* The one place that decides between cuDNN and beam's own kernels, but for shapes that no engine takes. */
static bool takes(const beam_backend *be, beam_tensor q, beam_tensor k, beam_tensor v, beam_sequences seq,
                  beam_attention_rule rule)
{
    const int64_t tokens = q.dim[0], width = q.dim[2], value_width = v.dim[2];
    return ((const beam_cuda_impl *)be->impl)->cudnn && be->real == BEAM_BF16 && tokens > 0 && seq.n > 0 &&
           (rule.window == 0 || rule.window >= tokens) && width % 8 == 0 && value_width % 8 == 0 &&
           width <= WIDEST_HEAD && value_width <= WIDEST_HEAD && is_aligned(q) && is_aligned(k) &&
           is_aligned(v);
}

static int64_t round_up(int64_t n, int64_t least)
{
    int64_t power = least;
    while (power < n)
        power *= 2;
    return power;
}

static slot *slot_for(cudnn *c, const beam_cudnn_shape *shape, bool grad)
{
    for (int i = 0; i < SLOTS; i++)
        if (c->slots[i].made && c->slots[i].grad == grad &&
            memcmp(&c->slots[i].shape, shape, sizeof *shape) == 0)
            return &c->slots[i];
    slot *s = &c->slots[c->next];
    c->next = (c->next + 1) % SLOTS;
    beam_cudnn_plan_close(&s->plan);
    *s = (slot){.shape = *shape, .grad = grad, .made = true};
    if (!beam_cudnn_plan_attention(&s->plan, &c->lib, shape, grad))
        return s;
    s->possible = beam_cudnn_plan_compile(&s->plan);
    if (!s->possible)
        beam_warn("cuda: cuDNN cannot compile its attention (%s): beam's own kernels take it",
                  c->lib.error_name(s->plan.graph.status));
    return s;
}

/* NULL: no engine takes it. */
static slot *find_slot(const beam_backend *be, beam_tensor q, beam_tensor k, beam_tensor v,
                       beam_sequences seq, bool grad)
{
    const beam_cudnn_shape shape = {.sequences = round_up(seq.n, 1),
                                    .tokens = round_up(q.dim[0], FEWEST_TOKENS),
                                    .heads = q.dim[1],
                                    .groups = k.dim[1],
                                    .width = q.dim[2],
                                    .value_width = v.dim[2]};
    slot *s = slot_for(((const beam_cuda_impl *)be->impl)->cudnn, &shape, grad);
    return s->possible ? s : NULL;
}

/* Bytes from the start of the scratch. */
typedef struct {
    size_t at[BEAM_SEQUENCE_TENSORS], length, workspace;
    size_t delta, dq_sums, dk_heads, dv_heads; /* of the gradient */
    size_t end;
} places;

static size_t take(places *p, int64_t count, size_t size)
{
    const size_t at = p->end, unit = 256;
    p->end = at + ((size_t)count * size + unit - 1) / unit * unit;
    return at;
}

static places lay_out(const slot *s)
{
    const beam_cudnn_shape *x = &s->shape;
    const int64_t rows = x->tokens * x->heads;
    const bool shared = x->heads > x->groups;
    places p = {.end = 0};
    for (int i = 0; i < BEAM_SEQUENCE_TENSORS; i++)
        p.at[i] = take(&p, x->sequences + 1, sizeof(int64_t));
    p.length = take(&p, x->sequences, sizeof(int32_t));
    p.workspace = take(&p, s->plan.workspace, 1);
    if (s->grad) {
        p.delta = take(&p, rows, sizeof(float));
        p.dq_sums = take(&p, rows * x->width, sizeof(float));
        p.dk_heads = take(&p, shared ? rows * x->width : 0, sizeof(uint16_t));
        p.dv_heads = take(&p, shared ? rows * x->value_width : 0, sizeof(uint16_t));
    }
    return p;
}

/* The backend's scratch, made larger at the first use of a shape. NULL, and a failure of the backend, if
 * there is no memory for it. */
static char *scratch_of(beam_backend *be, size_t bytes)
{
    beam_cuda_impl *impl = be->impl;
    if (bytes <= impl->scratch_bytes)
        return impl->scratch;
    void *larger = beam_cuda_alloc(be, bytes);
    if (!larger) {
        if (be->status == BEAM_ENOMEM)
            be->status = BEAM_FAIL(BEAM_ENOMEM,
                                   "device %d has no memory for %zu bytes of scratch of cuDNN's attention; "
                                   "unset BEAM_CUDA_CUDNN, or use shorter rows",
                                   impl->device, bytes);
        return NULL;
    }
    beam_cuda_sync(be);
    beam_cuda_free(be, impl->scratch);
    impl->scratch = larger;
    impl->scratch_bytes = bytes;
    return larger;
}

/* Which address has which id. Scalars lie in the binding itself. */
typedef struct {
    int64_t id[BEAM_CUDNN_IDS];
    const void *address[BEAM_CUDNN_IDS];
    int n;
    float scale, lowest, one;
} binding;

static void bind(binding *b, int64_t id, const void *address)
{
    b->id[b->n] = id;
    b->address[b->n++] = address;
}

/* What both passes have. */
static binding bind_operands(beam_tensor q, beam_tensor k, beam_tensor v, beam_tensor out, beam_tensor lse)
{
    binding b = {.n = 0};
    bind(&b, BEAM_CUDNN_Q, q.data);
    bind(&b, BEAM_CUDNN_K, k.data);
    bind(&b, BEAM_CUDNN_V, v.data);
    bind(&b, BEAM_CUDNN_OUT, out.data);
    bind(&b, BEAM_CUDNN_LSE, lse.data);
    return b;
}

static void bind_inputs(binding *b, const slot *s, const places *p, char *scratch, beam_attention_rule rule)
{
    for (int i = 0; i < BEAM_SEQUENCE_TENSORS; i++)
        bind(b, BEAM_CUDNN_AT_Q + i, scratch + p->at[i]);
    bind(b, BEAM_CUDNN_QUERIES, scratch + p->length);
    bind(b, BEAM_CUDNN_KEYS, scratch + p->length);
    b->scale = (float)rule.scale;
    b->lowest = -INFINITY;
    b->one = 1;
    bind(b, BEAM_CUDNN_SCALE, &b->scale);
    bind(b, BEAM_CUDNN_LOWEST, &b->lowest);
    if (!s->grad)
        return;
    bind(b, BEAM_CUDNN_ONE, &b->one);
    bind(b, BEAM_CUDNN_DELTA, scratch + p->delta);
    bind(b, BEAM_CUDNN_DQ_SUMS, scratch + p->dq_sums);
    if (s->shape.heads > s->shape.groups) {
        bind(b, BEAM_CUDNN_DK_HEADS, scratch + p->dk_heads);
        bind(b, BEAM_CUDNN_DV_HEADS, scratch + p->dv_heads);
    }
}

static void find_sequences(beam_backend *be, const slot *s, const places *p, char *scratch,
                           beam_sequences seq)
{
    const beam_cudnn_shape *x = &s->shape;
    beam_sequence_places to = {
        .row = {x->heads * x->width, x->groups * x->width, x->groups * x->value_width,
                x->heads * x->value_width, x->heads},
        .length = (int32_t *)(void *)(scratch + p->length),
        .slots = x->sequences,
    };
    for (int i = 0; i < BEAM_SEQUENCE_TENSORS; i++)
        to.at[i] = (int64_t *)(void *)(scratch + p->at[i]);
    beam_cuda_sequence_places(be, to, seq);
}

static cudnnStatus_t execute(const cudnn *c, const slot *s, const binding *b, void *workspace)
{
    beam_cudnn_item pack = NULL;
    cudnnStatus_t status = c->lib.item_create(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    if (status)
        return status;
    status = c->lib.item_set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, b->n, b->id);
    if (!status)
        status = c->lib.item_set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, b->n,
                                 b->address);
    if (!status)
        status = c->lib.item_set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (!status)
        status = c->lib.item_finalize(pack);
    if (!status)
        status = c->lib.execute(c->handle, s->plan.plan, pack);
    c->lib.item_destroy(pack);
    return status;
}

/* The operands are bound already. */
static void run(beam_backend *be, const slot *s, binding *b, beam_sequences seq, beam_attention_rule rule)
{
    const cudnn *c = ((const beam_cuda_impl *)be->impl)->cudnn;
    const places p = lay_out(s);
    char *scratch = scratch_of(be, p.end);
    if (!scratch)
        return;
    bind_inputs(b, s, &p, scratch, rule);
    find_sequences(be, s, &p, scratch, seq);
    const cudnnStatus_t status = execute(c, s, b, scratch + p.workspace);
    if (status && !be->status)
        be->status = BEAM_FAIL(BEAM_EDEVICE, "cuda: cuDNN's attention failed: %s; unset BEAM_CUDA_CUDNN",
                               c->lib.error_name(status));
}

bool beam_cuda_cudnn_attention(beam_backend *be, beam_tensor out, beam_tensor lse, beam_tensor q,
                               beam_tensor k, beam_tensor v, beam_sequences seq, beam_attention_rule rule)
{
    if (!takes(be, q, k, v, seq, rule) || !is_aligned(out) || !is_aligned(lse))
        return false;
    const slot *s = find_slot(be, q, k, v, seq, false);
    if (!s)
        return false;
    binding b = bind_operands(q, k, v, out, lse);
    run(be, s, &b, seq, rule);
    return true;
}

bool beam_cuda_cudnn_attention_grad(beam_backend *be, beam_tensor dq, beam_tensor dk, beam_tensor dv,
                                    beam_tensor dout, beam_tensor out, beam_tensor lse, beam_tensor q,
                                    beam_tensor k, beam_tensor v, beam_sequences seq,
                                    beam_attention_rule rule)
{
    if (!takes(be, q, k, v, seq, rule) || !is_aligned(dq) || !is_aligned(dk) || !is_aligned(dv) ||
        !is_aligned(dout) || !is_aligned(out) || !is_aligned(lse))
        return false;
    const slot *s = find_slot(be, q, k, v, seq, true);
    if (!s)
        return false;
    binding b = bind_operands(q, k, v, out, lse);
    bind(&b, BEAM_CUDNN_DOUT, dout.data);
    bind(&b, BEAM_CUDNN_DQ, dq.data);
    bind(&b, BEAM_CUDNN_DK, dk.data);
    bind(&b, BEAM_CUDNN_DV, dv.data);
    run(be, s, &b, seq, rule);
    return true;
}
