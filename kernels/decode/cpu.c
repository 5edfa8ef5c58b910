/* The processor's table for decoding, and its products. */
#include "kernels/decode/cpu.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/decode/lanes.h"
#include "kernels/decode/thin.h"

static void unpack_rows(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id)
{
    const int32_t *row = id.data;
    (void)be;
    for (int64_t i = 0; i < y.dim[0]; i++) {
        BEAM_ASSERT(row[i] >= 0 && row[i] < table.dim[0]);
        beam_matrix_unpack((float *)y.data + i * y.dim[1], beam_matrix_of(table), row[i]);
    }
}

static void thin_gemm(beam_backend *be, const beam_thin_map *map, int maps, beam_tensor x)
{
    for (int i = 0; i < maps; i++) {
        const beam_matrix m = beam_matrix_of(map[i].w);
        beam_thin_product(be->threads, map[i].y.data, m.rows, m, x.data, m.width, x.dim[0]);
        if (map[i].bias.data)
            beam_cpu_add_bias(be, map[i].y, map[i].bias);
    }
}

static void add_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor x, beam_tensor more, beam_tensor weight,
                        double epsilon)
{
    const int64_t n = x.dim[0], width = x.dim[1];
#pragma omp parallel for num_threads(be->threads) schedule(static) if (n > 1)
    for (int64_t t = 0; t < n; t++) {
        float *row = (float *)x.data + t * width;
        const float *add = more.data ? (const float *)more.data + t * width : NULL;
        for (int64_t i = 0; add && i < width; i++)
            row[i] += add[i];
        beam_cpu_normalize_row((float *)y.data + t * width, row, weight.data, width, epsilon);
    }
}

static void latent_widen(beam_backend *be, beam_tensor wide, beam_tensor q, beam_tensor up)
{
    const int64_t n = q.dim[0], heads = q.dim[1], rank = up.dim[1], width = wide.dim[2];
    const int64_t rotated = width - rank, own = q.dim[2] - rotated;
#pragma omp parallel for num_threads(be->threads) schedule(dynamic)
    for (int64_t h = 0; h < heads; h++)
        for (int64_t t = 0; t < n; t++) {
            const float *from = (const float *)q.data + (t * heads + h) * q.dim[2];
            float *to = (float *)wide.data + (t * heads + h) * width;
            memset(to, 0, (size_t)rank * sizeof *to);
            beam_thin_combine(to, beam_matrix_rows(beam_matrix_of(up), h * own, own), rank, from);
            memcpy(to + rank, from + own, (size_t)rotated * sizeof *to);
        }
}

static void latent_narrow(beam_backend *be, beam_tensor out, beam_tensor mixed, beam_tensor up)
{
    const int64_t n = out.dim[0], heads = out.dim[1], width = out.dim[2], rank = up.dim[1];
    const int64_t first = up.dim[0] - heads * width; /* behind the rows of keys */
#pragma omp parallel for num_threads(be->threads) schedule(dynamic)
    for (int64_t h = 0; h < heads; h++) {
        const beam_matrix rows = beam_matrix_rows(beam_matrix_of(up), first + h * width, width);
        for (int64_t t = 0; t < n; t += BEAM_THIN_TOKENS) {
            const int64_t some = n - t < BEAM_THIN_TOKENS ? n - t : BEAM_THIN_TOKENS;
            const float *in[BEAM_THIN_TOKENS];
            for (int64_t i = 0; i < some; i++)
                in[i] = (const float *)mixed.data + ((t + i) * heads + h) * rank;
            beam_thin_dots((float *)out.data + (t * heads + h) * width, heads * width, rows, in, some);
        }
    }
}

static float read_row(const float *x, int64_t n)
{
    enum { STREAMS = 4 };
    beam_lanes sum[STREAMS];
    for (int i = 0; i < STREAMS; i++)
        sum[i] = beam_lanes_zero();
    for (int64_t at = 0; at < n; at += STREAMS * BEAM_LANES)
        for (int i = 0; i < STREAMS; i++) {
            const beam_lanes v = beam_lanes_f32(x + at + i * BEAM_LANES);
            sum[i] = beam_lanes_fma(v, v, sum[i]);
        }
    float total = 0;
    for (int i = 0; i < STREAMS; i++)
        total += beam_lanes_sum(sum[i]);
    return total;
}

static void read_rows(beam_backend *be, beam_tensor sum, beam_tensor x)
{
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t i = 0; i < x.dim[0]; i++)
        ((float *)sum.data)[i] = read_row((const float *)x.data + i * x.dim[1], x.dim[1]);
}

static void *alloc_host(beam_backend *be, size_t bytes)
{
    void *p = malloc(bytes);
    if (!p)
        be->status = BEAM_FAIL(BEAM_ENOMEM, "no memory for %zu bytes", bytes);
    return p;
}

static void free_host(beam_backend *be, void *p)
{
    (void)be;
    free(p);
}

static void send(beam_backend *be, beam_tensor to, const void *from)
{
    (void)be;
    memcpy(to.data, from, beam_bytes(to));
}

static void fetch(beam_backend *be, void *to, beam_tensor from)
{
    (void)be;
    memcpy(to, from.data, beam_bytes(from));
}

const beam_decode_ops beam_cpu_decode_ops = {
    .unpack_rows = unpack_rows,
    .thin_gemm = thin_gemm,
    .add_rmsnorm = add_rmsnorm,
    .finish_heads = beam_cpu_finish_heads,
    .latent_widen = latent_widen,
    .latent_narrow = latent_narrow,
    .cache_room = beam_cpu_cache_room,
    .cache_attention = beam_cpu_cache_attention,
    .read_rows = read_rows,
    .alloc_host = alloc_host,
    .free_host = free_host,
    .send = send,
    .fetch = fetch,
};
