/* The checked front of what decoding does. */
#include "kernels/decode/ops.h"

#include "kernels/shape.h"

bool beam_can_decode(const beam_backend *be)
{
    return be->ops->decode && be->real == BEAM_F32;
}

bool beam_decodes_on_gpu(const beam_backend *be)
{
    return beam_can_decode(be) && be->ops->decode->on_gpu;
}

/* Whether an operation may run. */
static bool can(beam_backend *be)
{
    BEAM_ASSERT(beam_can_decode(be));
    be->busy = true;
    return !be->status;
}

/* As a model's folder stores a matrix. */
static bool is_stored(beam_tensor w)
{
    return (w.dtype == BEAM_F32 || w.dtype == BEAM_BF16) && beam_is(w, w.dtype, w.ndim, w.dim);
}

void beam_unpack_rows(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id)
{
    if (!can(be))
        return;
    BEAM_ASSERT(is_stored(table) && table.ndim == 2 && beam_is(id, BEAM_I32, BEAM_DIMS(y.dim[0])));
    BEAM_ASSERT(beam_is(y, BEAM_F32, BEAM_DIMS(y.dim[0], table.dim[1])));
    be->ops->decode->unpack_rows(be, y, table, id);
}

void beam_thin_gemm(beam_backend *be, const beam_thin_map *map, int maps, beam_tensor x)
{
    if (!can(be))
        return;
    const int64_t n = x.dim[0], width = x.dim[1];
    BEAM_ASSERT(maps >= 1 && maps <= BEAM_THIN_MAPS && width > 0 &&
                beam_is(x, BEAM_F32, BEAM_DIMS(n, width)));
    for (int i = 0; i < maps; i++) {
        const int64_t rows = map[i].w.dim[0];
        BEAM_ASSERT(is_stored(map[i].w) && map[i].w.ndim == 2 && map[i].w.dim[1] == width);
        BEAM_ASSERT(beam_is(map[i].y, BEAM_F32, BEAM_DIMS(n, rows)));
        BEAM_ASSERT(beam_is_absent_or(map[i].bias, BEAM_F32, BEAM_DIMS(rows)));
    }
    be->ops->decode->thin_gemm(be, map, maps, x);
}

void beam_add_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor x, beam_tensor more, beam_tensor weight,
                      double epsilon)
{
    if (!can(be))
        return;
    const int64_t width = x.dim[1];
    BEAM_ASSERT(width > 0 && beam_is(x, BEAM_F32, BEAM_DIMS(x.dim[0], width)) && beam_is_like(y, x));
    BEAM_ASSERT(beam_is_absent_or(more, BEAM_F32, x.ndim, x.dim) && (!more.data || y.data != x.data));
    BEAM_ASSERT(beam_is(weight, BEAM_F32, BEAM_DIMS(width)));
    be->ops->decode->add_rmsnorm(be, y, x, more, weight, epsilon);
}

void beam_latent_widen(beam_backend *be, beam_tensor wide, beam_tensor q, beam_tensor up)
{
    if (!can(be))
        return;
    const int64_t n = q.dim[0], heads = q.dim[1], rank = up.dim[1], rotated = wide.dim[2] - rank;
    BEAM_ASSERT(is_stored(up) && up.ndim == 2 && rotated >= 0 && rotated < q.dim[2]);
    BEAM_ASSERT(beam_is(q, BEAM_F32, BEAM_DIMS(n, heads, q.dim[2])));
    BEAM_ASSERT(beam_is(wide, BEAM_F32, BEAM_DIMS(n, heads, rank + rotated)));
    BEAM_ASSERT(up.dim[0] >= heads * (q.dim[2] - rotated));
    be->ops->decode->latent_widen(be, wide, q, up);
}

void beam_latent_narrow(beam_backend *be, beam_tensor out, beam_tensor mixed, beam_tensor up)
{
    if (!can(be))
        return;
    const int64_t n = out.dim[0], heads = out.dim[1], rank = up.dim[1];
    BEAM_ASSERT(is_stored(up) && up.ndim == 2 && heads > 0);
    BEAM_ASSERT(beam_is(out, BEAM_F32, BEAM_DIMS(n, heads, out.dim[2])));
    BEAM_ASSERT(beam_is(mixed, BEAM_F32, BEAM_DIMS(n, heads, rank)));
    BEAM_ASSERT(up.dim[0] % heads == 0 && up.dim[0] >= heads * out.dim[2]);
    be->ops->decode->latent_narrow(be, out, mixed, up);
}

static bool are_places(beam_places at, int64_t n)
{
    return beam_is(at.sequence, BEAM_I32, BEAM_DIMS(n)) && beam_is(at.position, BEAM_I32, BEAM_DIMS(n));
}

static bool is_cache(beam_tensor t)
{
    return t.ndim == 4 && t.dim[2] > 0 && beam_is(t, BEAM_F32, 4, t.dim);
}

static bool are_heads(const beam_heads *h, int64_t n, beam_heads_rule rule)
{
    const int64_t heads = h->x.dim[1], width = h->x.dim[2], normed = h->norm.dim[0];
    const int64_t positions = rule.cosine.dim[0], half = rule.cosine.dim[1];
    const bool norm = beam_is_absent_or(h->norm, BEAM_F32, BEAM_DIMS(normed)) &&
                      (!h->norm.data || normed == heads * width || (normed > 0 && normed <= width));
    const bool angles = beam_is(rule.cosine, BEAM_F32, BEAM_DIMS(positions, half)) &&
                        beam_is_like(rule.sine, rule.cosine) && 2 * half <= width;
    const bool cache =
        !h->cache.data || (is_cache(h->cache) && h->cache.dim[1] == heads && h->cache.dim[3] == width);
    return width > 0 && beam_is(h->x, BEAM_F32, BEAM_DIMS(n, heads, width)) && norm &&
           (!h->rotates || angles) && cache;
}

void beam_finish_heads(beam_backend *be, const beam_heads *heads, int kinds, beam_heads_rule rule,
                       beam_places at)
{
    if (!can(be))
        return;
    BEAM_ASSERT(kinds >= 1 && kinds <= BEAM_HEADS && rule.limit >= 0);
    const int64_t n = heads[0].x.dim[0];
    BEAM_ASSERT(are_places(at, n));
    for (int i = 0; i < kinds; i++)
        BEAM_ASSERT(are_heads(&heads[i], n, rule));
    be->ops->decode->finish_heads(be, heads, kinds, rule, at);
}

int64_t beam_cache_room(const beam_backend *be, int64_t n, int64_t heads, int64_t width, int64_t context)
{
    BEAM_ASSERT(beam_can_decode(be));
    return be->ops->decode->cache_room(be, n, heads, width, context);
}

void beam_cache_attention(beam_backend *be, beam_tensor out, beam_tensor q, beam_cache cache, beam_places at,
                          beam_attention_rule rule, beam_tensor room)
{
    if (!can(be))
        return;
    const int64_t n = q.dim[0], heads = q.dim[1], groups = cache.key.dim[1];
    BEAM_ASSERT(is_cache(cache.key) && is_cache(cache.value) && are_places(at, n) && rule.window >= 0);
    for (int i = 0; i < 3; i++)
        BEAM_ASSERT(cache.key.dim[i] == cache.value.dim[i]);
    BEAM_ASSERT(groups > 0 && heads % groups == 0);
    BEAM_ASSERT(beam_is(q, BEAM_F32, BEAM_DIMS(n, heads, cache.key.dim[3])));
    BEAM_ASSERT(beam_is(out, BEAM_F32, BEAM_DIMS(n, heads, out.dim[2])));
    BEAM_ASSERT(out.dim[2] > 0 && out.dim[2] <= cache.value.dim[3]);
    BEAM_ASSERT(be->ops->decode->most_columns == 0 || out.dim[2] <= be->ops->decode->most_columns);
    BEAM_ASSERT(beam_is(room, BEAM_F32, BEAM_DIMS(room.dim[0])) &&
                room.dim[0] >= beam_cache_room(be, n, heads, out.dim[2], cache.key.dim[2]));
    be->ops->decode->cache_attention(be, out, q, cache, at, rule, room);
}

void beam_read_rows(beam_backend *be, beam_tensor sum, beam_tensor x)
{
    enum { UNIT = 4096 };
    if (!can(be))
        return;
    BEAM_ASSERT(x.ndim == 2 && x.dim[1] % UNIT == 0 && beam_is(x, BEAM_F32, 2, x.dim));
    BEAM_ASSERT(beam_is(sum, BEAM_F32, BEAM_DIMS(x.dim[0])));
    be->ops->decode->read_rows(be, sum, x);
}

void *beam_alloc_host(beam_backend *be, size_t bytes)
{
    return can(be) ? be->ops->decode->alloc_host(be, bytes > 0 ? bytes : 1) : NULL;
}

void beam_free_host(beam_backend *be, void *p)
{
    if (p)
        be->ops->decode->free_host(be, p);
}

void beam_send(beam_backend *be, beam_tensor to, const void *from)
{
    if (can(be) && beam_bytes(to) > 0)
        be->ops->decode->send(be, to, from);
}

void beam_fetch(beam_backend *be, void *to, beam_tensor from)
{
    if (can(be) && beam_bytes(from) > 0)
        be->ops->decode->fetch(be, to, from);
}

bool beam_can_record(const beam_backend *be)
{
    return beam_can_decode(be) && be->ops->decode->record;
}

void beam_record(beam_backend *be)
{
    BEAM_ASSERT(beam_can_record(be));
    if (be->status)
        return;
    be->ops->decode->record(be);
    be->recording = !be->status;
}

void *beam_end_record(beam_backend *be)
{
    if (!be->recording)
        return NULL;
    be->recording = false;
    void *recording = be->ops->decode->end_record(be);
    if (!be->status)
        return recording;
    beam_forget(be, recording);
    return NULL;
}

void beam_replay(beam_backend *be, void *recording)
{
    if (can(be))
        be->ops->decode->replay(be, recording);
}

void beam_forget(beam_backend *be, void *recording)
{
    if (recording)
        be->ops->decode->forget(be, recording);
}
