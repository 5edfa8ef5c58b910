/* Ops of the mixture of experts. R = T*K pairs. */
#include <math.h>

#include "core/rng.h"
#include "ops/cases.h"
#include "support/values.h"

static unsigned bit(int slot)
{
    return 1u << slot;
}

/* Router. */

enum { LOGITS = OP_OWN, PROB, COUNTED, DPROB, DPROB_ROWS, DWEIGHT, DLOGITS, LOAD };

static int64_t columns(const op_fixture *f)
{
    return f->shape.E + f->shape.nulls;
}

/* Distinct levels 6/E apart with a little noise: no step of a finite difference changes the order. */
static void fill_router_logits(const op_fixture *f, beam_tensor logits)
{
    const int64_t E = columns(f);
    for (int64_t i = 0; logits.data && i < beam_count(logits); i++) {
        const uint64_t level = beam_random_permute(3, (uint64_t)(i / E), (uint64_t)(i % E), (uint64_t)E);
        const double noise = test_uniform("noise", i, -1.5, 1.5);
        test_set(logits, i, (double)(float)((6 * (double)level + noise) / (double)E));
    }
    if (op_has(f, OP_TIES))
        test_fill_integers(logits, "ties", 0, 2);
}

/* dprob is the same for all counted tokens; the functional needs it spelled out per token. */
static void fill_dprob_rows(const op_fixture *f, beam_tensor rows)
{
    const int64_t E = columns(f);
    for (int64_t i = 0; rows.data && i < beam_count(rows); i++) {
        const bool counted = test_get(f->slot[COUNTED].host, i / E) != 0;
        test_set(rows, i, counted && !op_has(f, OP_WITHOUT) ? test_get(f->slot[DPROB].host, i % E) : 0);
    }
}

static void router_build(op_fixture *f)
{
    const int64_t T = f->shape.T, E = columns(f);
    op_declare_route(f, bit(OP_EXPERT) | bit(OP_WEIGHT));
    fill_router_logits(f, op_wide_variable(f, LOGITS, "logits", 1, BEAM_DIMS(T, E)));
    op_wide_output(f, PROB, "prob", BEAM_DIMS(T, E));
    op_declare_counted(f, COUNTED);
    if (!op_has(f, OP_WITHOUT))
        op_wide_input(f, DPROB, "dprob", 1, BEAM_DIMS(E));
    fill_dprob_rows(f, op_seed(f, DPROB_ROWS, "dprob of every token", PROB));
    op_seed(f, DWEIGHT, "dweight", OP_WEIGHT);
    op_gradient(f, DLOGITS, "dlogits", LOGITS);
    f->run.flops = f->back.flops = 5.0 * (double)(T * E);
}

/* alpha is the scale (0: 1). Candidates come from M of G groups (0: no limit). */
static beam_router_rule router_rule(const op_fixture *f)
{
    const op_shape *s = &f->shape;
    return (beam_router_rule){.normalize = op_has(f, OP_NORMALIZE),
                              .scale = s->alpha != 0 ? s->alpha : 1,
                              .groups = s->G > 0 ? (int)s->G : 1,
                              .kept_groups = s->G > 0 ? (int)s->M : 1};
}

static void router_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_router_topk(f->be, &route, f->t[PROB], f->t[LOGITS], router_rule(f));
}

static void router_back(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_router_grad(f->be, f->t[DLOGITS], f->t[DWEIGHT], &route, f->t[PROB], f->t[DPROB], f->t[COUNTED],
                     router_rule(f));
}

const op_kind op_router = {"router", router_build, router_run, router_back};

static void router_load_build(op_fixture *f)
{
    const int64_t T = f->shape.T, E = columns(f);
    op_declare_route(f, 0);
    test_fill_uniform(op_wide_input(f, PROB, "prob", 1, BEAM_DIMS(T, E)), "prob", 0, 1);
    op_declare_counted(f, COUNTED);
    const beam_tensor load = op_declare(f, LOAD, "load", OP_OUTPUT, BEAM_F64, BEAM_DIMS(2, E));
    test_fill_normal(load, "load", 1);
    f->run.flops = (double)(T * E);
}

static void router_load_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_router_load(f->be, f->t[LOAD], &route, f->t[PROB], f->t[COUNTED]);
}

const op_kind op_router_load = {"router_load", router_load_build, router_load_run, NULL};

/* Routing. */

static void route_plan_build(op_fixture *f)
{
    op_declare_route(f, bit(OP_ROW) | bit(OP_PAIR) | bit(OP_FIRST) | bit(OP_KEPT_ROWS));
}

static void route_plan_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_route_plan(f->be, &route);
}

const op_kind op_route_plan = {"route_plan", route_plan_build, route_plan_run, NULL};

enum { X = OP_OWN, ROWS_X, DROWS_X, DX };

static void route_gather_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    op_declare_route(f, 0);
    op_variable(f, X, "x", 1, BEAM_DIMS(s->T, s->D));
    op_output(f, ROWS_X, "rows_x", BEAM_DIMS(s->T * s->K, s->D));
    op_poison_rows(f, op_seed(f, DROWS_X, "drows", ROWS_X), op_rows(f));
    op_added(f, DX, "dx", X, 1);
    f->back.flops = (double)(op_rows_used(f) * s->D);
}

static void route_gather_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_route_gather(f->be, f->t[ROWS_X], f->t[X], &route, op_rows(f));
}

static void route_gather_back(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_route_gather_grad(f->be, f->t[DX], f->t[DROWS_X], &route, op_rows(f));
}

const op_kind op_route_gather = {"route_gather", route_gather_build, route_gather_run, route_gather_back};

/* Experts. */

enum { A = OP_OWN, B, C, DC, DA, DB };

/* c [R,N] = a [R,D] b, b [E,D,N], or [E,N,D] with OP_TRANSPOSE_B. */
static void grouped_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    const bool tb = op_has(f, OP_TRANSPOSE_B);
    op_declare_route(f, 0);
    op_poison_rows(f, op_variable(f, A, "a", 1, BEAM_DIMS(s->T * s->K, s->D)), op_rows(f));
    op_variable(f, B, "b", 1, BEAM_DIMS(s->E, tb ? s->N : s->D, tb ? s->D : s->N));
    op_output(f, C, "c", BEAM_DIMS(s->T * s->K, s->N));
    op_poison_rows(f, op_seed(f, DC, "dc", C), op_rows(f));
    op_gradient(f, DA, "da", A);
    op_wide_added(f, DB, "db", B);
    f->run.flops = 2.0 * (double)(op_rows_used(f) * s->D * s->N);
    f->back.flops = 2 * f->run.flops;
}

static void grouped_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_grouped_gemm(
        f->be,
        &(beam_grouped_product){.c = f->t[C], .a = f->t[A], .b = f->t[B], .tb = op_has(f, OP_TRANSPOSE_B)},
        &route, op_rows(f));
}

static void grouped_back(op_fixture *f)
{
    const beam_route route = op_route(f);
    const bool tb = op_has(f, OP_TRANSPOSE_B);
    beam_grouped_gemm(f->be, &(beam_grouped_product){.c = f->t[DA], .a = f->t[DC], .b = f->t[B], .tb = !tb},
                      &route, op_rows(f));
    beam_grouped_wgrad(f->be, f->t[DB], f->t[tb ? DC : A], f->t[tb ? A : DC], &route, op_rows(f));
}

const op_kind op_grouped = {"grouped_gemm", grouped_build, grouped_run, grouped_back};

enum { TOKENS = OP_OWN, WEIGHTS, ROOM, PRODUCT, ACTIVATION };

/* c [R,2F] = x [T,D] of the row's token times b [E,2F,D], and with it silu(gate) up [R,F] unless OP_WITHOUT.
 */
static void grouped_tokens_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    const int64_t R = s->T * s->K;
    op_declare_route(f, 0);
    op_input(f, TOKENS, "x", 1, BEAM_DIMS(s->T, s->D));
    op_input(f, WEIGHTS, "b", 1, BEAM_DIMS(s->E, 2 * s->F, s->D));
    op_declare(f, ROOM, "a", OP_ROOM, f->be->real, BEAM_DIMS(R, s->D));
    op_output(f, PRODUCT, "c", BEAM_DIMS(R, 2 * s->F));
    if (!op_has(f, OP_WITHOUT))
        op_output(f, ACTIVATION, "act", BEAM_DIMS(R, s->F));
    f->run.flops = 4.0 * (double)(op_rows_used(f) * s->D * s->F);
}

static void grouped_tokens_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_grouped_gemm(f->be,
                      &(beam_grouped_product){.c = f->t[PRODUCT],
                                              .a = f->t[ROOM],
                                              .x = f->t[TOKENS],
                                              .b = f->t[WEIGHTS],
                                              .act = f->t[ACTIVATION],
                                              .tb = true},
                      &route, op_rows(f));
}

const op_kind op_grouped_tokens = {"grouped_gemm", grouped_tokens_build, grouped_tokens_run, NULL};
