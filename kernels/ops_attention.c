/* The checked front of attention, its rotary positions and its keys. */
#include "kernels/ops.h"
#include "kernels/shape.h"

void beam_rope(beam_backend *be, beam_tensor x, beam_tensor cosine, beam_tensor sine, beam_tensor position,
               bool inverse)
{
    if (!BEAM_CAN(be, rope))
        return;
    BEAM_ASSERT(x.dtype == be->real && x.ndim == 3 && 2 * cosine.dim[1] <= x.dim[2]);
    BEAM_ASSERT(beam_is(cosine, be->wide, BEAM_DIMS(cosine.dim[0], cosine.dim[1])) &&
                beam_is_like(sine, cosine));
    BEAM_ASSERT(beam_is(position, BEAM_I32, BEAM_DIMS(x.dim[0])));
    be->ops->rope(be, x, cosine, sine, position, inverse);
}

static void check_latent_keys(const beam_backend *be, beam_tensor k, beam_tensor own, beam_tensor shared)
{
    const int64_t tokens = own.dim[0], heads = own.dim[1], N = own.dim[2], R = shared.dim[1];
    BEAM_ASSERT(N > 0 && R > 0);
    BEAM_ASSERT(beam_is(own, be->real, BEAM_DIMS(tokens, heads, N)));
    BEAM_ASSERT(beam_is(shared, be->real, BEAM_DIMS(tokens, R)));
    BEAM_ASSERT(beam_is(k, be->real, BEAM_DIMS(tokens, heads, N + R)));
}

void beam_latent_keys(beam_backend *be, beam_tensor k, beam_tensor own, beam_tensor shared)
{
    if (!BEAM_CAN(be, latent_keys))
        return;
    check_latent_keys(be, k, own, shared);
    be->ops->latent_keys(be, k, own, shared);
}

void beam_latent_keys_grad(beam_backend *be, beam_tensor down, beam_tensor dshared, beam_tensor dk)
{
    if (!BEAM_CAN(be, latent_keys_grad))
        return;
    check_latent_keys(be, dk, down, dshared);
    be->ops->latent_keys_grad(be, down, dshared, dk);
}

static void check_attention(const beam_backend *be, beam_tensor out, beam_tensor lse, beam_tensor q,
                            beam_tensor k, beam_tensor v, beam_sequences seq, beam_attention_rule rule)
{
    const int64_t tokens = q.dim[0], heads = q.dim[1], groups = k.dim[1], width = q.dim[2],
                  value_width = v.dim[2];
    BEAM_ASSERT(groups > 0 && heads % groups == 0 && width > 0 && value_width > 0);
    BEAM_ASSERT(beam_is(q, be->real, BEAM_DIMS(tokens, heads, width)));
    BEAM_ASSERT(beam_is(k, be->real, BEAM_DIMS(tokens, groups, width)));
    BEAM_ASSERT(beam_is(v, be->real, BEAM_DIMS(tokens, groups, value_width)));
    BEAM_ASSERT(beam_is(out, be->real, BEAM_DIMS(tokens, heads, value_width)));
    BEAM_ASSERT(beam_is(lse, be->wide, BEAM_DIMS(tokens, heads)));
    BEAM_ASSERT(seq.n >= 0 && beam_is(seq.first, BEAM_I32, BEAM_DIMS(seq.first.dim[0])));
    BEAM_ASSERT(seq.first.dim[0] > seq.n && rule.window >= 0);
}

void beam_attention(beam_backend *be, beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k,
                    beam_tensor v, beam_sequences seq, beam_attention_rule rule)
{
    if (!BEAM_CAN(be, attention))
        return;
    check_attention(be, out, lse, q, k, v, seq, rule);
    be->ops->attention(be, out, lse, q, k, v, seq, rule);
}

void beam_attention_grad(beam_backend *be, beam_tensor dq, beam_tensor dk, beam_tensor dv, beam_tensor dout,
                         beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k, beam_tensor v,
                         beam_sequences seq, beam_attention_rule rule)
{
    if (!BEAM_CAN(be, attention_grad))
        return;
    check_attention(be, out, lse, q, k, v, seq, rule);
    BEAM_ASSERT(beam_is_like(dq, q) && beam_is_like(dk, k) && beam_is_like(dv, v) && beam_is_like(dout, out));
    be->ops->attention_grad(be, dq, dk, dv, dout, out, lse, q, k, v, seq, rule);
}
