/* Dense ops: copy, add, gemm, embed, rmsnorm, rope. */
#include "ops/cases.h"
#include "support/values.h"

enum { X, W, Y, INVERSE, DY, DX, DW, ID, COSINE, SINE, POSITION };

static void copy_build(op_fixture *f)
{
    op_input(f, X, "x", 1, BEAM_DIMS(f->shape.T, f->shape.D));
    op_output(f, Y, "y", BEAM_DIMS(f->shape.T, f->shape.D));
}

static void copy_run(op_fixture *f)
{
    beam_copy(f->be, f->t[Y], f->t[X]);
}

/* wide -> real -> wide. */
static void round_build(op_fixture *f)
{
    op_wide_input(f, X, "x", 1, BEAM_DIMS(f->shape.T, f->shape.D));
    op_output(f, Y, "y", BEAM_DIMS(f->shape.T, f->shape.D));
    op_wide_output(f, DX, "y, wide again", BEAM_DIMS(f->shape.T, f->shape.D));
}

static void round_run(op_fixture *f)
{
    beam_copy(f->be, f->t[Y], f->t[X]);
    beam_copy(f->be, f->t[DX], f->t[Y]);
}

/* OP_WIDE: gradients. */
static void add_build(op_fixture *f)
{
    const int64_t T = f->shape.T, D = f->shape.D;
    const bool wide = op_has(f, OP_WIDE);
    (wide ? op_wide_input : op_input)(f, X, "x", 1, BEAM_DIMS(T, D));
    test_fill_normal((wide ? op_wide_output : op_output)(f, Y, "y", BEAM_DIMS(T, D)), "y", 1);
    f->run.flops = (double)(f->shape.T * f->shape.D);
}

static void add_run(op_fixture *f)
{
    beam_add(f->be, f->t[Y], f->t[X]);
}

const op_kind op_copy = {"copy", copy_build, copy_run, NULL};
const op_kind op_round = {"round", round_build, round_run, NULL};
const op_kind op_add = {"add", add_build, add_run, NULL};

/* T > 0: A and C get T as a leading dim. OP_WIDE: B and C are wide, as in a router. */
static void gemm_build(op_fixture *f)
{
    const int64_t M = f->shape.M, N = f->shape.N, D = f->shape.D, T = f->shape.T;
    if (T > 0)
        op_variable(f, X, "a", 1, BEAM_DIMS(T, M / T, D));
    else if (op_has(f, OP_TRANSPOSE_A))
        op_variable(f, X, "a", 1, BEAM_DIMS(D, M));
    else
        op_variable(f, X, "a", 1, BEAM_DIMS(M, D));
    const bool tb = op_has(f, OP_TRANSPOSE_B), wide = op_has(f, OP_WIDE);
    (wide ? op_wide_variable : op_variable)(f, W, "b", 1, BEAM_DIMS(tb ? N : D, tb ? D : N));
    beam_tensor c;
    if (T > 0)
        c = op_output(f, Y, "c", BEAM_DIMS(T, M / T, N));
    else
        c = (wide ? op_wide_output : op_output)(f, Y, "c", BEAM_DIMS(M, N));
    if (f->shape.beta != 0)
        test_fill_normal(c, "c", 1);
    op_seed(f, DY, "dc", Y);
    op_gradient(f, DX, "da", X);
    op_wide_gradient(f, DW, "db", W);
    f->run.flops = 2.0 * (double)(M * N * D);
    f->back.flops = 2 * f->run.flops;
}

static void gemm_run(op_fixture *f)
{
    beam_gemm(f->be, f->t[Y], f->t[X], op_has(f, OP_TRANSPOSE_A), f->t[W], op_has(f, OP_TRANSPOSE_B),
              f->shape.alpha, f->shape.beta);
}

static void gemm_back(op_fixture *f)
{
    const bool ta = op_has(f, OP_TRANSPOSE_A), tb = op_has(f, OP_TRANSPOSE_B);
    const double alpha = f->shape.alpha;
    const beam_tensor dy = beam_reshape(f->t[DY], BEAM_DIMS(f->shape.M, f->shape.N));
    if (ta)
        beam_gemm(f->be, f->t[DX], f->t[W], tb, dy, true, alpha, 0);
    else
        beam_gemm(f->be, f->t[DX], f->t[DY], false, f->t[W], !tb, alpha, 0);
    if (tb)
        beam_gemm(f->be, f->t[DW], f->t[DY], true, f->t[X], ta, alpha, 0);
    else
        beam_gemm(f->be, f->t[DW], f->t[X], !ta, dy, false, alpha, 0);
}

const op_kind op_gemm = {"gemm", gemm_build, gemm_run, gemm_back};

static void embed_build(op_fixture *f)
{
    const int64_t T = f->shape.T, D = f->shape.D, V = f->shape.V;
    const beam_tensor id = op_declare(f, ID, "id", OP_INPUT, BEAM_I32, BEAM_DIMS(T));
    test_fill_integers(id, "id", 0, (int)V - 1);
    op_variable(f, W, "table", 1, BEAM_DIMS(V, D));
    op_output(f, Y, "y", BEAM_DIMS(T, D));
    op_seed(f, DY, "dy", Y);
    op_wide_added(f, DW, "dtable", W);
    f->back.flops = (double)(T * D);
}

static void embed_run(op_fixture *f)
{
    beam_embed(f->be, f->t[Y], f->t[W], f->t[ID]);
}

static void embed_back(op_fixture *f)
{
    beam_embed_grad(f->be, f->t[DW], f->t[DY], f->t[ID]);
}

const op_kind op_embed = {"embed", embed_build, embed_run, embed_back};

/* Of a wide table. */
static void embed_wide_build(op_fixture *f)
{
    const int64_t T = f->shape.T, D = f->shape.D, V = f->shape.V;
    test_fill_integers(op_declare(f, ID, "id", OP_INPUT, BEAM_I32, BEAM_DIMS(T)), "id", 0, (int)V - 1);
    op_wide_input(f, W, "table", 1, BEAM_DIMS(V, D));
    op_wide_output(f, Y, "y", BEAM_DIMS(T, D));
}

const op_kind op_embed_wide = {"embed", embed_wide_build, embed_run, NULL};

/* Rows [T,D], or [T,H,Dh] when H > 0. alpha is epsilon, beta scales the old dx. */
static void rmsnorm_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    const int64_t N = s->H > 0 ? s->Dh : s->D;
    const beam_tensor x = s->H > 0 ? op_variable(f, X, "x", 1, BEAM_DIMS(s->T, s->H, N))
                                   : op_variable(f, X, "x", 1, BEAM_DIMS(s->T, N));
    for (int64_t i = 0; x.data && op_has(f, OP_ZERO) && i < N; i++)
        test_set(x, i, 0);
    op_variable(f, W, "weight", 1, BEAM_DIMS(N));
    op_output(f, Y, "y", x.ndim, x.dim);
    if (s->H > 0)
        op_wide_output(f, INVERSE, "inverse", BEAM_DIMS(s->T, s->H));
    else
        op_wide_output(f, INVERSE, "inverse", BEAM_DIMS(s->T));
    op_seed(f, DY, "dy", Y);
    if (s->beta != 0)
        op_added(f, DX, "dx", X, s->beta);
    else
        op_gradient(f, DX, "dx", X);
    if (!op_has(f, OP_WITHOUT))
        op_wide_added(f, DW, "dweight", W);
    f->run.flops = 4.0 * (double)beam_count(x);
    f->back.flops = 10.0 * (double)beam_count(x);
}

static void rmsnorm_run(op_fixture *f)
{
    beam_rmsnorm(f->be, f->t[Y], f->t[INVERSE], f->t[X], f->t[W], f->shape.alpha);
}

static void rmsnorm_back(op_fixture *f)
{
    beam_rmsnorm_grad(f->be, f->t[DX], f->t[DW], f->t[DY], f->t[X], f->t[W], f->t[INVERSE], f->shape.beta);
}

const op_kind op_rmsnorm = {"rmsnorm", rmsnorm_build, rmsnorm_run, rmsnorm_back};

enum { POSITIONS = 50 };

static void rope_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    const int64_t half = (s->R > 0 ? s->R : s->Dh) / 2;
    op_variable(f, X, "x", 1, BEAM_DIMS(s->T, s->H, s->Dh));
    /* Not a point of the circle: a swap of sine and cosine, or of signs, cannot cancel. */
    op_wide_input(f, COSINE, "cosine", 1, BEAM_DIMS(POSITIONS, half));
    op_wide_input(f, SINE, "sine", 1, BEAM_DIMS(POSITIONS, half));
    const beam_tensor position = op_declare(f, POSITION, "position", OP_INPUT, BEAM_I32, BEAM_DIMS(s->T));
    test_fill_integers(position, "position", 0, POSITIONS - 1);
    op_output(f, Y, "y", BEAM_DIMS(s->T, s->H, s->Dh));
    op_seed(f, DY, "dy", Y);
    op_gradient(f, DX, "dx", X);
    f->run.flops = f->back.flops = 6.0 * (double)(s->T * s->H * half);
}

static void rope_run(op_fixture *f)
{
    beam_copy(f->be, f->t[Y], f->t[X]);
    beam_rope(f->be, f->t[Y], f->t[COSINE], f->t[SINE], f->t[POSITION], false);
}

static void rope_back(op_fixture *f)
{
    beam_copy(f->be, f->t[DX], f->t[DY]);
    beam_rope(f->be, f->t[DX], f->t[COSINE], f->t[SINE], f->t[POSITION], true);
}

const op_kind op_rope = {"rope", rope_build, rope_run, rope_back};
