/* The one table of op cases. Three kinds of program walk over it: gradients (finite differences), parity (two
 * backends, or one backend and the plain reference) and benchmarks. To add an op: write its op_kind (dense.c,
 * elementwise.c, attention.c, mixture.c, pairs.c, gate.c, union.c, give_back.c, distill.c, update.c), its
 * reference (reference_*.c), and at least one row in cases.c. BEAM_TEST_VERBOSE=1 makes the programs print
 * every error they measure. */
#ifndef BEAM_TESTS_OPS_CASES_H
#define BEAM_TESTS_OPS_CASES_H

#include "ops/fixture.h"

/* Options of a case. Those about routes hold for every op that works on rows. */
enum {
    OP_NOT_SMOOTH = 1u << 0, /* no finite differences: ties, NaN, values too large for a step of 1e-3 */
    OP_TRANSPOSE_A = 1u << 1,
    OP_TRANSPOSE_B = 1u << 2,
    OP_NORMALIZE = 1u << 3,  /* router: normalised weights */
    OP_SOFT = 1u << 4,       /* BEAM_MASK_SOFT, else BEAM_MASK_HARD */
    OP_KEPT = 1u << 5,       /* rows: BEAM_ROWS_KEPT */
    OP_DROPPED = 1u << 6,    /* rows: BEAM_ROWS_DROPPED; neither: BEAM_ROWS_ALL */
    OP_ALL_ON = 1u << 7,     /* every candidate is kept */
    OP_ALL_OFF = 1u << 8,    /* none is */
    OP_WITHOUT = 1u << 9,    /* optional tensors are absent */
    OP_TIES = 1u << 10,      /* equal values where the largest is looked for */
    OP_NAN = 1u << 11,       /* NaN and infinities among the inputs */
    OP_LARGE = 1u << 12,     /* values whose exponential overflows */
    OP_ZERO = 1u << 13,      /* exact zeros: a zero row, a mask logit of 0 */
    OP_POISON = 1u << 15,    /* rows that must not be read hold NaN */
    OP_GIVE_BACK = 1u << 16, /* mask_gate: dropped experts give back */
    OP_SQUARED = 1u << 17,   /* mask_gate: the penalty is of q^2 */
    OP_UNION = 1u << 18,     /* mask_gate: there is a further gradient of q */
    OP_WIDE = 1u << 19,      /* gemm, add: of a gate (b and c are wide), of gradients */
};

/* Slots of the route, the same in every op that has one; an op's own slots start at OP_OWN. */
enum { OP_EXPERT, OP_WEIGHT, OP_LOGIT, OP_GATE, OP_KEEP, OP_ROW, OP_PAIR, OP_FIRST, OP_KEPT_ROWS, OP_OWN };

/* One op, or the smallest chain of ops that has a forward and a backward. */
typedef struct {
    const char *name;
    void (*build)(op_fixture *f);
    void (*run)(op_fixture *f);
    void (*back)(op_fixture *f); /* NULL: nothing to differentiate */
} op_kind;

/* Tolerances are relative to the largest value of the tensor compared, or to shape.floor if that is larger.
 */
typedef struct op_case {
    const char *name;
    const op_kind *op;
    op_shape shape;
    double tol_f32, tol_bf16;
} op_case;

/* The way from experts' gate and up projections to the layer's output and back, F = D, with down projections
 * of 1: slots that follow one another. */
enum {
    OP_GATE_UP,    /* [R,2D] variable */
    OP_ACT,        /* [R,D] output, of rows that run */
    OP_Y,          /* [T,D] output */
    OP_DY,         /* its seed */
    OP_DACT,       /* [R,D] */
    OP_ROW_WEIGHT, /* wide [R] */
    OP_DOT,        /* wide [R] */
    OP_DPAIR,      /* wide [T,K] */
    OP_DGATE_UP,   /* absent with OP_WITHOUT in route_combine, as the next */
    OP_SCALED_ACT, /* [R,D] */
    OP_PAIR_SLOTS
};
void op_declare_pairs(op_fixture *f, int at, bool gradients);
void op_pairs_run(op_fixture *f, int at);
void op_pairs_back(op_fixture *f, int at);

extern const op_case op_cases[];
extern const int op_case_count;

extern const op_kind op_bias, op_shift, op_clip, op_gated, op_give_back;
extern const op_kind op_copy, op_round, op_add, op_gemm, op_embed, op_embed_wide, op_rmsnorm, op_rope,
    op_attention, op_swiglu, op_swiglu_rows, op_cross_entropy, op_router, op_router_load, op_gate_open,
    op_mask_gate, op_mask_stats, op_route_plan, op_route_gather, op_route_combine, op_grouped,
    op_grouped_tokens, op_adamw, op_sum_squares;
extern const op_kind op_latent_keys, op_union, op_distill, op_expert_peaks;

static inline bool op_has(const op_fixture *f, unsigned option)
{
    return (f->shape.options & option) != 0;
}

static inline double op_temperature(const op_fixture *f)
{
    return f->shape.temperature != 0 ? f->shape.temperature : 1;
}

static inline beam_rows_of op_rows(const op_fixture *f)
{
    return op_has(f, OP_KEPT) ? BEAM_ROWS_KEPT : op_has(f, OP_DROPPED) ? BEAM_ROWS_DROPPED : BEAM_ROWS_ALL;
}

static inline beam_mask_form op_form(const op_fixture *f)
{
    return op_has(f, OP_SOFT) ? BEAM_MASK_SOFT : BEAM_MASK_HARD;
}

/* Routes of build functions (route.c). */

/* Declares the nine tensors of a route of shape T, E, K and fills those whose bit (1u << slot) is not in
 * `outputs`. Expert 0 has no token when K < E; token 0 keeps nothing and token 1 everything, when T > 2, but
 * for null experts, which are never kept. */
void op_declare_route(op_fixture *f, unsigned outputs);

/* The route on the backend. */
beam_route op_route(const op_fixture *f);

/* u8 [T] "counted", about one in four 0. */
beam_tensor op_declare_counted(op_fixture *f, int i);

/* Puts the pattern into the rows of a host tensor [R, ..] that an op over `used` must not touch. */
void op_poison_rows(const op_fixture *f, beam_tensor rows, beam_rows_of used);

/* How many rows of the route an op with op_rows(f) works on; 0 while measuring. */
int64_t op_rows_used(const op_fixture *f);

#endif
