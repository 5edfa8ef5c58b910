/* What decoding does besides the operations of kernels/ops.h: products of a few tokens with weights as they
 * are stored, a cache of keys and values, and recorded launches. A second table, filled like the first one
 * for the processor and for CUDA, and called through the checked front below. An operation does as much
 * as one launch can: a token's work is small, and launches are many.
 *
 * Activations are f32, stored weights f32 or bf16. n is the number of tokens of a step. What a token gets
 * depends on its own rows alone: the same bits whatever n is, and whoever the other tokens are. */
#ifndef BEAM_KERNELS_DECODE_OPS_H
#define BEAM_KERNELS_DECODE_OPS_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Keys and values of one layer, position p of a sequence in row p mod P: f32 [S,G,P,width], S sequences, G
 * groups. Latent attention keeps latents, of which the first numbers are the values: value is key then. */
typedef struct {
    beam_tensor key, value;
} beam_cache;

/* Where the tokens of a step stand: i32 [n] each, on the device. */
typedef struct {
    beam_tensor sequence, position;
} beam_places;

/* One of the products that a step takes of the same x: y[n,N] = x[n,M] w^T + bias. */
typedef struct {
    beam_tensor y, w; /* the stored w[N,M] */
    beam_tensor bias; /* f32 [N]; absent: none */
} beam_thin_map;

enum { BEAM_THIN_MAPS = 3, BEAM_HEADS = 3 }; /* of one call: queries, keys, values */

/* Heads on their way from products to attention. */
typedef struct {
    beam_tensor x;    /* f32 [n,H,W] */
    beam_tensor norm; /* f32, weight of their RMSNorm: [H W] over all of a token's, or [R] over the first R <=
                         W numbers of each; absent: none */
    bool rotates;
    beam_tensor cache; /* [S,H,P,W], where they go, and x holds anything then; absent: they stay in x */
} beam_heads;

/* For all heads of a call. */
typedef struct {
    double epsilon;           /* of norms */
    double limit;             /* then they are clipped to [-limit, limit]; 0: not */
    beam_tensor cosine, sine; /* f32 [positions, R/2]: then pairs (i, i + R/2) of the last R numbers rotate */
} beam_heads_rule;

struct beam_decode_ops {
    bool on_gpu;          /* CUDA kernels, on a device or on the host shim */
    int64_t most_columns; /* of a value, in beam_cache_attention; 0: any number */

    void (*unpack_rows)(beam_backend *, beam_tensor y, beam_tensor table, beam_tensor id);
    void (*thin_gemm)(beam_backend *, const beam_thin_map *map, int maps, beam_tensor x);
    void (*add_rmsnorm)(beam_backend *, beam_tensor y, beam_tensor x, beam_tensor more, beam_tensor weight,
                        double epsilon);
    void (*finish_heads)(beam_backend *, const beam_heads *heads, int kinds, beam_heads_rule rule,
                         beam_places at);
    void (*latent_widen)(beam_backend *, beam_tensor wide, beam_tensor q, beam_tensor up);
    void (*latent_narrow)(beam_backend *, beam_tensor out, beam_tensor mixed, beam_tensor up);
    int64_t (*cache_room)(const beam_backend *, int64_t n, int64_t heads, int64_t width, int64_t context);
    void (*cache_attention)(beam_backend *, beam_tensor out, beam_tensor q, beam_cache cache, beam_places at,
                            beam_attention_rule rule, beam_tensor room);

    void (*read_rows)(beam_backend *, beam_tensor sum, beam_tensor x);

    void *(*alloc_host)(beam_backend *, size_t bytes);
    void (*free_host)(beam_backend *, void *);
    void (*send)(beam_backend *, beam_tensor to, const void *from);
    void (*fetch)(beam_backend *, void *to, beam_tensor from);

    /* NULL where recording would gain nothing. */
    void (*record)(beam_backend *);
    void *(*end_record)(beam_backend *);
    void (*replay)(beam_backend *, void *recording);
    void (*forget)(beam_backend *, void *recording);
};

/* Whether the backend can decode: it computes in f32 and has the operations below; and whether it does so
 * with CUDA kernels. */
bool beam_can_decode(const beam_backend *be);
bool beam_decodes_on_gpu(const beam_backend *be);

/* y[n,M] = row id[i], i32 [n], of the stored table[V,M]. */
void beam_unpack_rows(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id);

/* The products of x[n,M] with 1 to BEAM_THIN_MAPS matrices. */
void beam_thin_gemm(beam_backend *be, const beam_thin_map *map, int maps, beam_tensor x);

/* x[n,D] += more[n,D], unless that is absent; y[n,D] = x / sqrt(mean(x^2) + epsilon) * weight. Without `more`
 * y may be x. */
void beam_add_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor x, beam_tensor more, beam_tensor weight,
                      double epsilon);

/* Norm, clipping and rotation of 1 to BEAM_HEADS kinds of heads, and their way into the cache. No two of
 * their tensors overlap. */
void beam_finish_heads(beam_backend *be, const beam_heads *heads, int kinds, beam_heads_rule rule,
                       beam_places at);

/* Attention in the space of the latents (DeepSeek-V2, arXiv:2405.04434, section 2.1.2), H heads, R latents:
 * the stored up[H(N + Dv),R] has the rows that make each head's N own keys, then those of its Dv values.
 *   wide[n,H,R+r] = q's first N numbers times those rows of its head, then its r rotated ones, q[n,H,N+r];
 *   out[n,H,Dv] = the values' rows of the head times mixed[n,H,R]. */
void beam_latent_widen(beam_backend *be, beam_tensor wide, beam_tensor q, beam_tensor up);
void beam_latent_narrow(beam_backend *be, beam_tensor out, beam_tensor mixed, beam_tensor up);

/* Floats of room that attention of n tokens with H heads of `width` value columns needs, if none of them has
 * more than `context` positions. */
int64_t beam_cache_room(const beam_backend *be, int64_t n, int64_t heads, int64_t width, int64_t context);

/* out[n,H,Wv] = softmax(scale * q[n,H,Wk] . keys) values over the positions that a token sees: up to its own,
 * which the cache has, and no further back than the rule's window. G divides H; P is at least what is seen.
 * room: f32, of beam_cache_room. */
void beam_cache_attention(beam_backend *be, beam_tensor out, beam_tensor q, beam_cache cache, beam_places at,
                          beam_attention_rule rule, beam_tensor room);

/* sum[n] = the sum of squares of each row of x[n,m], f32, m a multiple of 4096: as fast as memory can be
 * read, to measure that. */
void beam_read_rows(beam_backend *be, beam_tensor sum, beam_tensor x);

/* Memory of the host for beam_send and beam_fetch, which a device reaches by itself. NULL on failure, with
 * be->status. beam_free_host accepts NULL. */
void *beam_alloc_host(beam_backend *be, size_t bytes);
void beam_free_host(beam_backend *be, void *p);

/* Transfers from and to such memory, in the order of the operations. Nothing waits: the host leaves `from`
 * alone, and does not look at `to`, until beam_sync. They may be recorded. */
void beam_send(beam_backend *be, beam_tensor to, const void *from);
void beam_fetch(beam_backend *be, void *to, beam_tensor from);

/* Between beam_record and beam_end_record operations are written down instead of run; nothing may be uploaded
 * or downloaded there, and kernels should have run before. beam_replay runs them, any number of times, with
 * what memory then holds. NULL if anything failed, with the failure in be->status. beam_forget accepts NULL.
 */
bool beam_can_record(const beam_backend *be);
void beam_record(beam_backend *be);
void *beam_end_record(beam_backend *be);
void beam_replay(beam_backend *be, void *recording);
void beam_forget(beam_backend *be, void *recording);

#ifdef __cplusplus
}
#endif
#endif
