/* Attention, its rotary positions and its keys, as formulas. */
#include <math.h>

#include "kernels/ops.h"
#include "ops/reference.h"

void reference_rope(beam_backend *be, beam_tensor x, beam_tensor cosine, beam_tensor sine,
                    beam_tensor position, bool inverse)
{
    (void)be;
    const int64_t H = x.dim[1], Dh = x.dim[2], half = cosine.dim[1];
    for (int64_t t = 0; t < x.dim[0]; t++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t i = 0; i < half; i++) {
                double *a = reference_f64(x) + (t * H + h) * Dh + Dh - 2 * half + i, *b = a + half;
                const int64_t at = reference_i32(position)[t] * half + i;
                const double c = reference_f64(cosine)[at];
                const double s = inverse ? -reference_f64(sine)[at] : reference_f64(sine)[at];
                const double rotated = *a * c - *b * s;
                *b = *b * c + *a * s;
                *a = rotated;
            }
}

void reference_latent_keys(beam_backend *be, beam_tensor k, beam_tensor own, beam_tensor shared)
{
    (void)be;
    const int64_t H = k.dim[1], N = own.dim[2], R = shared.dim[1];
    for (int64_t i = 0; i < beam_count(k); i++) {
        const int64_t row = i / (N + R), n = i % (N + R);
        reference_f64(k)[i] =
            n < N ? reference_f64(own)[row * N + n] : reference_f64(shared)[row / H * R + n - N];
    }
}

void reference_latent_keys_grad(beam_backend *be, beam_tensor down, beam_tensor dshared, beam_tensor dk)
{
    beam_zero(be, dshared);
    const int64_t H = dk.dim[1], N = down.dim[2], R = dshared.dim[1];
    for (int64_t i = 0; i < beam_count(dk); i++) {
        const int64_t row = i / (N + R), n = i % (N + R);
        if (n < N)
            reference_f64(down)[row * N + n] = reference_f64(dk)[i];
        else
            reference_f64(dshared)[row / H * R + n - N] += reference_f64(dk)[i];
    }
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* The first token that token t sees: of its sequence, and inside the window. */
static int64_t first_seen(beam_sequences seq, beam_attention_rule rule, int64_t t)
{
    int i = 0;
    while (reference_i32(seq.first)[i + 1] <= t)
        i++;
    int64_t s = reference_i32(seq.first)[i];
    while (rule.window > 0 && t - s >= rule.window)
        s++;
    return s;
}

/* Vector of head h of token t in x [T,H,..], where h counts heads of a tensor with H heads in all. */
static double *head(beam_tensor x, int64_t t, int64_t h, int64_t H)
{
    return reference_f64(x) + (t * x.dim[1] + h * x.dim[1] / H) * x.dim[2];
}

void reference_attention(beam_backend *be, beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k,
                         beam_tensor v, beam_sequences seq, beam_attention_rule rule)
{
    (void)be;
    const int64_t H = q.dim[1], Dh = q.dim[2], Dv = v.dim[2];
    for (int64_t t = 0; t < q.dim[0]; t++)
        for (int64_t h = 0; h < H; h++) {
            double largest = -INFINITY, sum = 0, *o = head(out, t, h, H);
            const int64_t first = first_seen(seq, rule, t);
            for (int64_t s = first; s <= t; s++)
                largest = fmax(largest, rule.scale * dot(head(q, t, h, H), head(k, s, h, H), Dh));
            for (int64_t i = 0; i < Dv; i++)
                o[i] = 0;
            for (int64_t s = first; s <= t; s++) {
                const double p = exp(rule.scale * dot(head(q, t, h, H), head(k, s, h, H), Dh) - largest);
                sum += p;
                for (int64_t i = 0; i < Dv; i++)
                    o[i] += p * head(v, s, h, H)[i];
            }
            for (int64_t i = 0; i < Dv; i++)
                o[i] /= sum;
            reference_f64(lse)[t * H + h] = largest + log(sum);
        }
}

void reference_attention_grad(beam_backend *be, beam_tensor dq, beam_tensor dk, beam_tensor dv,
                              beam_tensor dout, beam_tensor out, beam_tensor lse, beam_tensor q,
                              beam_tensor k, beam_tensor v, beam_sequences seq, beam_attention_rule rule)
{
    beam_zero(be, dq);
    beam_zero(be, dk);
    beam_zero(be, dv);
    const int64_t H = q.dim[1], Dh = q.dim[2], Dv = v.dim[2];
    for (int64_t t = 0; t < q.dim[0]; t++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t s = first_seen(seq, rule, t); s <= t; s++) {
                const double *qt = head(q, t, h, H), *ks = head(k, s, h, H), *d = head(dout, t, h, H);
                const double p = exp(rule.scale * dot(qt, ks, Dh) - reference_f64(lse)[t * H + h]);
                const double dp = dot(d, head(v, s, h, H), Dv) - dot(d, head(out, t, h, H), Dv);
                for (int64_t i = 0; i < Dv; i++)
                    head(dv, s, h, H)[i] += p * d[i];
                for (int64_t i = 0; i < Dh; i++) {
                    head(dq, t, h, H)[i] += rule.scale * p * dp * ks[i];
                    head(dk, s, h, H)[i] += rule.scale * p * dp * qt[i];
                }
            }
}
