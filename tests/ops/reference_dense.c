/* Dense ops and the update, as formulas. */
#include <math.h>

#include "kernels/ops.h"
#include "ops/reference.h"

static double element(beam_tensor x, bool transposed, int64_t i, int64_t j)
{
    const int64_t columns = x.dim[x.ndim - 1];
    return reference_f64(x)[transposed ? j * columns + i : i * columns + j];
}

void reference_gemm(beam_backend *be, beam_tensor c, beam_tensor a, bool ta, beam_tensor b, bool tb,
                    double alpha, double beta)
{
    (void)be;
    const int64_t N = c.dim[c.ndim - 1], M = beam_count(c) / N, K = tb ? b.dim[1] : b.dim[0];
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) {
            double sum = 0;
            for (int64_t k = 0; k < K; k++)
                sum += element(a, ta, i, k) * element(b, tb, k, j);
            double *out = &reference_f64(c)[i * N + j];
            *out = alpha * sum + (beta != 0 ? beta * *out : 0);
        }
}

void reference_embed(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id)
{
    (void)be;
    const int64_t D = y.dim[1];
    for (int64_t i = 0; i < beam_count(y); i++)
        reference_f64(y)[i] = reference_f64(table)[reference_i32(id)[i / D] * D + i % D];
}

void reference_embed_grad(beam_backend *be, beam_tensor dtable, beam_tensor dy, beam_tensor id)
{
    (void)be;
    const int64_t D = dy.dim[1];
    for (int64_t i = 0; i < beam_count(dy); i++)
        reference_f64(dtable)[reference_i32(id)[i / D] * D + i % D] += reference_f64(dy)[i];
}

void reference_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor inverse, beam_tensor x,
                       beam_tensor weight, double epsilon)
{
    (void)be;
    const int64_t N = weight.dim[0];
    for (int64_t r = 0; r < beam_count(x) / N; r++) {
        const double *in = reference_f64(x) + r * N;
        double squares = 0;
        for (int64_t i = 0; i < N; i++)
            squares += in[i] * in[i];
        reference_f64(inverse)[r] = 1 / sqrt(squares / (double)N + epsilon);
        for (int64_t i = 0; i < N; i++)
            reference_f64(y)[r * N + i] = in[i] * reference_f64(inverse)[r] * reference_f64(weight)[i];
    }
}

void reference_rmsnorm_grad(beam_backend *be, beam_tensor dx, beam_tensor dweight, beam_tensor dy,
                            beam_tensor x, beam_tensor weight, beam_tensor inverse, double beta)
{
    (void)be;
    const int64_t N = weight.dim[0];
    const double *w = reference_f64(weight);
    for (int64_t r = 0; r < beam_count(x) / N; r++) {
        const double *in = reference_f64(x) + r * N, *d = reference_f64(dy) + r * N;
        const double s = reference_f64(inverse)[r];
        double *out = reference_f64(dx) + r * N, dot = 0;
        for (int64_t i = 0; i < N; i++)
            dot += d[i] * w[i] * in[i];
        for (int64_t i = 0; i < N; i++) {
            out[i] = (beta != 0 ? beta * out[i] : 0) + s * d[i] * w[i] - s * s * s * in[i] * dot / (double)N;
            if (dweight.data)
                reference_f64(dweight)[i] += d[i] * in[i] * s;
        }
    }
}

void reference_rope(beam_backend *be, beam_tensor x, beam_tensor cosine, beam_tensor sine,
                    beam_tensor position, bool inverse)
{
    (void)be;
    const int64_t H = x.dim[1], half = x.dim[2] / 2;
    for (int64_t t = 0; t < x.dim[0]; t++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t i = 0; i < half; i++) {
                double *a = reference_f64(x) + (t * H + h) * 2 * half + i, *b = a + half;
                const int64_t at = reference_i32(position)[t] * half + i;
                const double c = reference_f64(cosine)[at];
                const double s = inverse ? -reference_f64(sine)[at] : reference_f64(sine)[at];
                const double rotated = *a * c - *b * s;
                *b = *b * c + *a * s;
                *a = rotated;
            }
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* First token of the sequence that token t is in. */
static int64_t start_of(beam_sequences seq, int64_t t)
{
    int i = 0;
    while (reference_i32(seq.first)[i + 1] <= t)
        i++;
    return reference_i32(seq.first)[i];
}

/* Vector of head h of token t in x [T,H,Dh], where h counts heads of a tensor with H heads in all. */
static double *head(beam_tensor x, int64_t t, int64_t h, int64_t H)
{
    return reference_f64(x) + (t * x.dim[1] + h * x.dim[1] / H) * x.dim[2];
}

void reference_attention(beam_backend *be, beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k,
                         beam_tensor v, beam_sequences seq, double scale)
{
    (void)be;
    const int64_t H = q.dim[1], Dh = q.dim[2];
    for (int64_t t = 0; t < q.dim[0]; t++)
        for (int64_t h = 0; h < H; h++) {
            double largest = -INFINITY, sum = 0, *o = head(out, t, h, H);
            for (int64_t s = start_of(seq, t); s <= t; s++)
                largest = fmax(largest, scale * dot(head(q, t, h, H), head(k, s, h, H), Dh));
            for (int64_t i = 0; i < Dh; i++)
                o[i] = 0;
            for (int64_t s = start_of(seq, t); s <= t; s++) {
                const double p = exp(scale * dot(head(q, t, h, H), head(k, s, h, H), Dh) - largest);
                sum += p;
                for (int64_t i = 0; i < Dh; i++)
                    o[i] += p * head(v, s, h, H)[i];
            }
            for (int64_t i = 0; i < Dh; i++)
                o[i] /= sum;
            reference_f64(lse)[t * H + h] = largest + log(sum);
        }
}

void reference_attention_grad(beam_backend *be, beam_tensor dq, beam_tensor dk, beam_tensor dv,
                              beam_tensor dout, beam_tensor out, beam_tensor lse, beam_tensor q,
                              beam_tensor k, beam_tensor v, beam_sequences seq, double scale)
{
    beam_zero(be, dq);
    beam_zero(be, dk);
    beam_zero(be, dv);
    const int64_t H = q.dim[1], Dh = q.dim[2];
    for (int64_t t = 0; t < q.dim[0]; t++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t s = start_of(seq, t); s <= t; s++) {
                const double *qt = head(q, t, h, H), *ks = head(k, s, h, H), *d = head(dout, t, h, H);
                const double p = exp(scale * dot(qt, ks, Dh) - reference_f64(lse)[t * H + h]);
                const double dp = dot(d, head(v, s, h, H), Dh) - dot(d, head(out, t, h, H), Dh);
                for (int64_t i = 0; i < Dh; i++) {
                    head(dv, s, h, H)[i] += p * d[i];
                    head(dq, t, h, H)[i] += scale * p * dp * ks[i];
                    head(dk, s, h, H)[i] += scale * p * dp * qt[i];
                }
            }
}

void reference_cross_entropy(beam_backend *be, beam_tensor logits, beam_tensor target, beam_tensor loss,
                             beam_tensor correct, double grad_scale, bool want_grad)
{
    (void)be;
    const int64_t V = logits.dim[1];
    for (int64_t t = 0; t < logits.dim[0]; t++) {
        double *x = reference_f64(logits) + t * V, sum = 0;
        const int32_t wanted = reference_i32(target)[t];
        int64_t best = 0;
        for (int64_t i = 1; i < V; i++)
            best = x[i] > x[best] ? i : best;
        const double largest = x[best];
        for (int64_t i = 0; i < V; i++)
            sum += exp(x[i] - largest);
        reference_f64(loss)[t] = wanted < 0 ? 0 : log(sum) + largest - x[wanted];
        ((uint8_t *)correct.data)[t] = best == wanted;
        for (int64_t i = 0; i < V && want_grad; i++)
            x[i] = wanted < 0 ? 0 : grad_scale * (exp(x[i] - largest) / sum - (i == wanted));
    }
}

void reference_adamw(beam_backend *be, beam_tensor value, beam_tensor grad, beam_tensor m, beam_tensor v,
                     const beam_adamw_args *args)
{
    (void)be;
    const double b1 = args->beta1, b2 = args->beta2, step = (double)args->step;
    for (int64_t i = 0; i < beam_count(value); i++) {
        const double g = args->grad_scale * reference_f64(grad)[i];
        double *w = reference_f64(value) + i, *mi = reference_f64(m) + i, *vi = reference_f64(v) + i;
        *mi = b1 * *mi + (1 - b1) * g;
        *vi = b2 * *vi + (1 - b2) * g * g;
        const double mean = *mi / (1 - pow(b1, step)), square = *vi / (1 - pow(b2, step));
        *w -= args->learning_rate * args->weight_decay * *w;
        *w -= args->learning_rate * mean / (sqrt(square) + args->epsilon);
    }
}

void reference_sum_squares(beam_backend *be, beam_tensor sum, beam_tensor x)
{
    (void)be;
    *reference_f64(sum) += dot(x.data, x.data, beam_count(x));
}
