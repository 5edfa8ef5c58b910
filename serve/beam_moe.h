/* The mixture-of-experts layer with mask gates, for inference engines: plain C types, so that C++, Python
 * (ctypes) and others can use libbeam_moe.so through dlopen. Dropped experts are not read from memory.
 *
 *     beam_moe layer = {.size = sizeof layer, .abi = BEAM_MOE_ABI, ...};
 *     size_t bytes = beam_moe_workspace(&layer, 64);            // once, for at most 64 tokens
 *     beam_moe_run(&layer, x, y, tokens, workspace, bytes, NULL);
 *
 * Nothing here allocates, keeps state or waits for a device; calls with different workspaces may run at the
 * same time. Zero is success in every function that returns an int; beam_moe_error says what others mean. A
 * token's result depends on no other token of the call and not on the number of threads: the same bits.
 *
 * Letters: T tokens, D hidden size, E experts, N null experts, K candidates per token, F width of an expert,
 * S of the shared one. Matrices are dense and row-major; [rows, columns]. */
#ifndef BEAM_SERVE_BEAM_MOE_H
#define BEAM_SERVE_BEAM_MOE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BEAM_MOE_ABI 1

#if defined(__GNUC__)
#define BEAM_MOE_API __attribute__((visibility("default")))
#else
#define BEAM_MOE_API
#endif

/* device. On a GPU (a library built with nvcc) the description is the host's, but every pointer in it and in
 * the calls is the device's; a call returns when its kernels are in the queue of `stream` (a cudaStream_t)
 * and may be captured into a CUDA graph; E + N is at most 1024, T at most 2^20. Other numbers are refused. */
enum { BEAM_MOE_CPU = 0, BEAM_MOE_CUDA = 1 };

enum { BEAM_MOE_F32 = 0, BEAM_MOE_BF16 = 1 }; /* type of elements */

enum {
    BEAM_MOE_OK = 0,
    BEAM_MOE_EABI,       /* size or abi of the description is not this library's */
    BEAM_MOE_EDEVICE,    /* no such device in this library */
    BEAM_MOE_ESHAPE,     /* a number of the description is out of range */
    BEAM_MOE_ETYPE,      /* an element type that this library does not know */
    BEAM_MOE_EPOINTER,   /* something that is needed is NULL */
    BEAM_MOE_EWORKSPACE, /* the workspace is too small */
    BEAM_MOE_EID,        /* an expert's id is outside [-1, E) */
    BEAM_MOE_ELAUNCH     /* the GPU refused a kernel */
};

/* data NULL: absent, where a comment says that it may be. */
typedef struct {
    const void *data;
    int32_t type;
    int32_t reserved; /* 0 */
} beam_moe_matrix;

/* One layer: shapes, rules and weights, which stay the caller's. Set it to zero, then fill in; what stays
 * zero is absent or takes the value that its comment names. */
typedef struct {
    uint32_t size; /* sizeof(beam_moe) */
    uint32_t abi;  /* BEAM_MOE_ABI */
    int32_t device;
    int32_t threads; /* CPU: 0 for as many as OpenMP would use */
    int64_t hidden_size, experts, null_experts, top_k, expert_size, shared_size;
    int32_t hidden_type; /* of x and y */

    /* Router: softmax over E + N, then the K largest (equal ones: lower id first). */
    int32_t normalize;           /* 1: weights are divided by their sum, */
    double scale;                /* then multiplied by this; 0 counts as 1 */
    int32_t groups, kept_groups; /* group-limited top-k (DeepSeek-V2); 0, 0: none */
    beam_moe_matrix router;      /* [E+N,D] */

    /* Experts: w = down(silu(gate x) * up x). gate_up is interleaved: beam_moe_pack_gate_up. */
    beam_moe_matrix gate_up, down;               /* [E,2F,D] [E,D,F] */
    beam_moe_matrix shared_gate_up, shared_down; /* [2S,D] [D,S]; NULL with shared_size 0 */
    beam_moe_matrix shared_gate;                 /* [1,D]: sigmoid(w.x) times the shared part; NULL: 1 */

    /* Mask gates: candidate e is kept if sigmoid(u) >= threshold,
     *     u = W_m x + bias[e] + scale * log(K g / sum of g) + rank_bias[rank of e].
     * The weights of kept ones stay what they are. NULL: no masks, and the rule below decides. With N = 0. */
    beam_moe_matrix mask_router; /* [E,D] */
    const float *mask_bias;      /* [E] or NULL */
    const float *mask_scale;     /* [1] or NULL */
    const float *mask_rank_bias; /* [K] or NULL */
    double threshold;            /* in (0, 1) */
    beam_moe_matrix give_back;   /* [E,D] what dropped experts add in their place, or NULL */

    /* Pruned top-k, without masks. */
    int32_t keep; /* the best so many candidates run; 0: all K */
    int32_t
        anchor;   /* n > 0: kept weights times (sum of all K) / (sum of the best max(n, kept)); 0: times 1 */
    double share; /* of those, the fewest that come to this share of the sum of all K; 0: no such limit */
} beam_moe;

/* Which experts run for each token; arrays of the caller, [T,K]. */
typedef struct {
    int32_t *id;        /* -1: dropped, or a null expert */
    float *weight;      /* of the expert's output; 0 where the id is -1 */
    int32_t *candidate; /* all candidates, best first, and their weights before the mask: */
    float *gain;        /* needed with give_back; else both may be NULL */
} beam_moe_pairs;

/* Whether the description can be run. */
BEAM_MOE_API int beam_moe_check(const beam_moe *m);

/* Bytes that calls with at most `tokens` tokens need; any alignment will do. 0 if the description, or a
 * negative number of tokens, is refused. */
BEAM_MOE_API size_t beam_moe_workspace(const beam_moe *m, int64_t tokens);

/* y[T,D] = the whole layer of x[T,D]; y is overwritten and must not overlap x. `stream` is for devices: on
 * the CPU it is not used, and the call returns when all is done. On a GPU calls that may run at the same time
 * need workspaces of their own. */
BEAM_MOE_API int beam_moe_run(const beam_moe *m, const void *x, void *y, int64_t tokens, void *workspace,
                              size_t bytes, void *stream);

/* Its two halves. Router and mask alone: fills *pairs. */
BEAM_MOE_API int beam_moe_route(const beam_moe *m, const void *x, int64_t tokens, const beam_moe_pairs *pairs,
                                void *workspace, size_t bytes, void *stream);

/* Experts, give-back and shared expert, from pairs that may come from anywhere: ids in any order. A GPU takes
 * ids outside [-1, E) for dropped ones. */
BEAM_MOE_API int beam_moe_experts(const beam_moe *m, const void *x, void *y, int64_t tokens,
                                  const beam_moe_pairs *pairs, void *workspace, size_t bytes, void *stream);

/* One expert's gate and up projections, [F,D] each as in a Hugging Face checkpoint, into its [2F,D] of
 * gate_up: groups of 8 gate rows and the 8 up rows that go with them (a smaller last group where 8 does not
 * divide F). down projections stay as they are. In fused checkpoints [2F,D] up is gate + F * D. */
BEAM_MOE_API int beam_moe_pack_gate_up(void *gate_up, const void *gate, const void *up, int64_t expert_size,
                                       int64_t hidden_size, int32_t type);

/* A sentence for a number that a function here returned. */
BEAM_MOE_API const char *beam_moe_error(int code);

#ifdef __cplusplus
}
#endif
#endif
