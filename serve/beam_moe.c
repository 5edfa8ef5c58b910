#include "serve/beam_moe.h"

#include <math.h>
#include <string.h>

#include <omp.h>

#include "core/bf16.h"
#include "kernels/decode/experts.h"
#include "kernels/ops.h"
#include "serve/moe_state.h"

static int check_matrix(const beam_moe_matrix *m, bool needed)
{
    if (!m->data)
        return needed ? BEAM_MOE_EPOINTER : BEAM_MOE_OK;
    return m->type == BEAM_MOE_F32 || m->type == BEAM_MOE_BF16 ? BEAM_MOE_OK : BEAM_MOE_ETYPE;
}

static bool in_range(int64_t x, int64_t low, int64_t high)
{
    return x >= low && x <= high;
}

/* Limits far above any model keep products of sizes within 64 bits. */
static int check_shape(const beam_moe *m)
{
    const int64_t groups = m->groups > 0 ? m->groups : 1, kept = m->groups > 0 ? m->kept_groups : 1;
    const int64_t candidates = m->groups > 0 ? m->experts / groups * kept : m->experts + m->null_experts;
    const bool fits = in_range(m->hidden_size, 1, 1 << 20) && in_range(m->experts, 1, 1 << 16) &&
                      in_range(m->null_experts, 0, 1 << 16) && in_range(m->expert_size, 1, 1 << 20) &&
                      in_range(m->shared_size, 0, 1 << 24) && in_range(groups, 1, m->experts) &&
                      m->groups >= 0 && m->experts % groups == 0 && in_range(kept, 1, groups) &&
                      (groups == 1 || m->null_experts == 0) && in_range(m->top_k, 1, candidates);
    const bool rules =
        in_range(m->keep, 0, m->top_k) && in_range(m->anchor, 0, m->top_k) && m->share >= 0 &&
        m->share <= 1 && m->scale >= 0 && m->threads >= 0 &&
        (!m->mask_router.data || (m->threshold > 0 && m->threshold < 1 && m->null_experts == 0));
    const bool on_device = m->device == BEAM_MOE_CPU || beam_moe_cuda_fits(m);
    return fits && rules && on_device ? BEAM_MOE_OK : BEAM_MOE_ESHAPE;
}

int beam_moe_check(const beam_moe *m)
{
    if (!m)
        return BEAM_MOE_EPOINTER;
    if (m->size != sizeof *m || m->abi != BEAM_MOE_ABI)
        return BEAM_MOE_EABI;
    if (m->device != BEAM_MOE_CPU && !(m->device == BEAM_MOE_CUDA && beam_moe_cuda_compiled()))
        return BEAM_MOE_EDEVICE;
    if (m->hidden_type != BEAM_MOE_F32 && m->hidden_type != BEAM_MOE_BF16)
        return BEAM_MOE_ETYPE;
    const bool shared = m->shared_size > 0;
    const int found[] = {
        check_shape(m),
        check_matrix(&m->router, true),
        check_matrix(&m->gate_up, true),
        check_matrix(&m->down, true),
        check_matrix(&m->shared_gate_up, shared),
        check_matrix(&m->shared_down, shared),
        check_matrix(&m->shared_gate, false),
        check_matrix(&m->mask_router, false),
        check_matrix(&m->give_back, false),
    };
    for (size_t i = 0; i < sizeof found / sizeof *found; i++)
        if (found[i])
            return found[i];
    return BEAM_MOE_OK;
}

const char *beam_moe_error(int code)
{
    switch (code) {
    case BEAM_MOE_OK:
        return "no error";
    case BEAM_MOE_EABI:
        return "the description's size or abi is not this library's: compile against its beam_moe.h";
    case BEAM_MOE_EDEVICE:
        return "this library has no such device";
    case BEAM_MOE_ESHAPE:
        return "a number of the description is out of range";
    case BEAM_MOE_ETYPE:
        return "unknown element type: BEAM_MOE_F32 and BEAM_MOE_BF16 are implemented";
    case BEAM_MOE_EPOINTER:
        return "a pointer that is needed is NULL";
    case BEAM_MOE_EWORKSPACE:
        return "the workspace is too small: ask beam_moe_workspace";
    case BEAM_MOE_EID:
        return "an expert's id is outside [-1, experts)";
    case BEAM_MOE_ELAUNCH:
        return "the GPU refused a kernel: wrong stream or device, or an architecture the library has no code "
               "for";
    default:
        return "unknown error";
    }
}

static beam_dtype dtype_of(int32_t type)
{
    return type == BEAM_MOE_BF16 ? BEAM_BF16 : BEAM_F32;
}

beam_matrix beam_moe_rows(const beam_moe_matrix *m, int64_t rows, int64_t width)
{
    return (beam_matrix){.data = m->data, .type = dtype_of(m->type), .rows = rows, .width = width};
}

int beam_moe_threads(const beam_moe *m)
{
    return m->threads > 0 ? m->threads : omp_get_max_threads();
}

/* Room that the halves share: the hidden states as floats, where they are not, and the result. */
typedef struct {
    beam_tensor x, y; /* f32 [T,D] */
    beam_moe_pairs pairs;
} layer_room;

static void lay_out(layer_room *r, const beam_moe *m, int64_t tokens, beam_arena *a)
{
    const bool convert = m->hidden_type != BEAM_MOE_F32;
    *r = (layer_room){0};
    if (convert) {
        r->x = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, m->hidden_size));
        r->y = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, m->hidden_size));
    }
    r->pairs.id = beam_push(a, BEAM_I32, BEAM_DIMS(tokens, m->top_k)).data;
    r->pairs.weight = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, m->top_k)).data;
    r->pairs.candidate = beam_push(a, BEAM_I32, BEAM_DIMS(tokens, m->top_k)).data;
    r->pairs.gain = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, m->top_k)).data;
}

static bool takes(const beam_moe *m, int64_t tokens)
{
    return in_range(tokens, 0, INT32_MAX / m->top_k) &&
           (m->device == BEAM_MOE_CPU || beam_moe_cuda_takes(tokens));
}

static void measure(const beam_moe *m, int64_t tokens, beam_arena *a)
{
    layer_room room;
    lay_out(&room, m, tokens, a);
    const size_t mark = beam_mark(a);
    beam_moe_measure_route(m, tokens, a);
    beam_release(a, mark);
    beam_moe_measure_experts(m, tokens, a);
}

size_t beam_moe_workspace(const beam_moe *m, int64_t tokens)
{
    if (beam_moe_check(m) || !takes(m, tokens))
        return 0;
    beam_arena a = beam_arena_measure();
    if (m->device == BEAM_MOE_CUDA)
        beam_moe_cuda_measure(m, tokens, &a);
    else
        measure(m, tokens, &a);
    return a.peak + BEAM_ALIGN; /* the caller's block may start anywhere */
}

/* Checks what all calls have in common and places an arena into the workspace. */
static int begin(const beam_moe *m, int64_t tokens, void *workspace, size_t bytes, beam_arena *a)
{
    const int code = beam_moe_check(m);
    if (code)
        return code;
    if (!takes(m, tokens))
        return BEAM_MOE_ESHAPE;
    if (!workspace)
        return BEAM_MOE_EPOINTER;
    if (bytes < beam_moe_workspace(m, tokens))
        return BEAM_MOE_EWORKSPACE;
    const size_t skip = (BEAM_ALIGN - (uintptr_t)workspace % BEAM_ALIGN) % BEAM_ALIGN;
    *a = beam_arena_over((char *)workspace + skip, bytes - skip);
    return BEAM_MOE_OK;
}

/* x as floats. */
static const float *open_hidden(const beam_moe *m, const layer_room *r, const void *x, int64_t tokens)
{
    if (m->hidden_type == BEAM_MOE_F32)
        return x;
    float *to = r->x.data;
    for (int64_t i = 0; i < tokens * m->hidden_size; i++)
        to[i] = beam_bf16_to_f32(((const uint16_t *)x)[i]);
    return to;
}

static void close_hidden(const beam_moe *m, void *y, const float *from, int64_t tokens)
{
    if (m->hidden_type == BEAM_MOE_F32)
        return;
    for (int64_t i = 0; i < tokens * m->hidden_size; i++)
        ((uint16_t *)y)[i] = beam_f32_to_bf16(from[i]);
}

/* Ids are read only where they can be. */
static int check_pairs(const beam_moe *m, const beam_moe_pairs *p, int64_t tokens, bool read)
{
    read = read && m->device == BEAM_MOE_CPU;
    const bool gives_back = m->give_back.data && m->mask_router.data;
    if (!p || !p->id || !p->weight || (gives_back && (!p->candidate || !p->gain)))
        return BEAM_MOE_EPOINTER;
    for (int64_t i = 0; read && i < tokens * m->top_k; i++) {
        if (p->id[i] < -1 || p->id[i] >= m->experts)
            return BEAM_MOE_EID;
        if (gives_back && (p->candidate[i] < 0 || p->candidate[i] >= m->experts + m->null_experts))
            return BEAM_MOE_EID;
    }
    return BEAM_MOE_OK;
}

int beam_moe_route(const beam_moe *m, const void *x, int64_t tokens, const beam_moe_pairs *pairs,
                   void *workspace, size_t bytes, void *stream)
{
    beam_arena a;
    layer_room room;
    int code = begin(m, tokens, workspace, bytes, &a);
    if (!code)
        code = x ? check_pairs(m, pairs, tokens, false) : BEAM_MOE_EPOINTER;
    if (code)
        return code;
    if (m->device == BEAM_MOE_CUDA)
        return beam_moe_cuda_route(m, x, tokens, pairs, &a, stream);
    lay_out(&room, m, tokens, &a);
    beam_moe_route_f32(m, open_hidden(m, &room, x, tokens), tokens, pairs, &a);
    return BEAM_MOE_OK;
}

int beam_moe_experts(const beam_moe *m, const void *x, void *y, int64_t tokens, const beam_moe_pairs *pairs,
                     void *workspace, size_t bytes, void *stream)
{
    beam_arena a;
    layer_room room;
    int code = begin(m, tokens, workspace, bytes, &a);
    if (!code)
        code = x && y ? check_pairs(m, pairs, tokens, true) : BEAM_MOE_EPOINTER;
    if (code)
        return code;
    if (m->device == BEAM_MOE_CUDA)
        return beam_moe_cuda_experts(m, x, y, tokens, pairs, &a, stream);
    lay_out(&room, m, tokens, &a);
    float *out = m->hidden_type == BEAM_MOE_F32 ? y : room.y.data;
    beam_moe_experts_f32(m, open_hidden(m, &room, x, tokens), out, tokens, pairs, &a);
    close_hidden(m, y, out, tokens);
    return BEAM_MOE_OK;
}

int beam_moe_run(const beam_moe *m, const void *x, void *y, int64_t tokens, void *workspace, size_t bytes,
                 void *stream)
{
    beam_arena a;
    layer_room room;
    const int code = begin(m, tokens, workspace, bytes, &a);
    if (code || !x || !y)
        return code ? code : BEAM_MOE_EPOINTER;
    if (m->device == BEAM_MOE_CUDA)
        return beam_moe_cuda_run(m, x, y, tokens, &a, stream);
    lay_out(&room, m, tokens, &a);
    const float *in = open_hidden(m, &room, x, tokens);
    float *out = m->hidden_type == BEAM_MOE_F32 ? y : room.y.data;
    const size_t mark = beam_mark(&a);
    beam_moe_route_f32(m, in, tokens, &room.pairs, &a);
    beam_release(&a, mark);
    beam_moe_experts_f32(m, in, out, tokens, &room.pairs, &a);
    close_hidden(m, y, out, tokens);
    return BEAM_MOE_OK;
}

int beam_moe_pack_gate_up(void *gate_up, const void *gate, const void *up, int64_t expert_size,
                          int64_t hidden_size, int32_t type)
{
    if (!gate_up || !gate || !up)
        return BEAM_MOE_EPOINTER;
    if (expert_size < 1 || hidden_size < 1)
        return BEAM_MOE_ESHAPE;
    if (type != BEAM_MOE_F32 && type != BEAM_MOE_BF16)
        return BEAM_MOE_ETYPE;
    const size_t row = (size_t)hidden_size * (type == BEAM_MOE_BF16 ? 2 : 4);
    for (int64_t f = 0; f < expert_size; f++) {
        const int64_t to_gate = beam_interleave_row(f, 0, expert_size);
        const int64_t to_up = beam_interleave_row(f, 1, expert_size);
        memcpy((char *)gate_up + (size_t)to_gate * row, (const char *)gate + (size_t)f * row, row);
        memcpy((char *)gate_up + (size_t)to_up * row, (const char *)up + (size_t)f * row, row);
    }
    return BEAM_MOE_OK;
}
