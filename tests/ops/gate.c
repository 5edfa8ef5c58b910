/* Gates: which candidates run. R = T*K pairs. */
#include <math.h>

#include "ops/cases.h"
#include "support/values.h"

static unsigned bit(int slot)
{
    return 1u << slot;
}

/* The best M candidates are kept, of these a share of alpha (0: 1), anchored at N. */
static void gate_open_build(op_fixture *f)
{
    op_declare_route(f, bit(OP_WEIGHT) | bit(OP_LOGIT) | bit(OP_GATE) | bit(OP_KEEP));
    test_fill_uniform(f->slot[OP_WEIGHT].host, "weight", 0.05, 1);
}

static void gate_open_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    const op_shape *s = &f->shape;
    const beam_prune_rule rule = {
        .keep = (int)s->M, .share = s->alpha != 0 ? s->alpha : 1, .anchor = (int)s->N};
    beam_gate_open(f->be, &route, rule);
}

const op_kind op_gate_open = {"gate_open", gate_open_build, gate_open_run, NULL};

enum {
    PRODUCT = OP_OWN,
    BIAS,
    SCALE,
    RANK_BIAS,
    TOKENS_COUNTED,
    DGATE,
    DPRODUCT,
    DWEIGHT_OUT,
    DBIAS,
    DSCALE,
    DRANK_BIAS,
    GIVEN,
    DVECTOR,
    DGIVEN,
    DUNION,
    SQUARES,
    DSQUARES,
    PAIRS
};

/* Token 0 is off, token 1 on; NaN in token 2, infinities in token 3. */
static void fill_product(const op_fixture *f, beam_tensor product)
{
    const int64_t E = f->shape.E;
    test_fill_normal(product, "product", op_has(f, OP_ZERO) ? 0 : 1);
    for (int64_t e = 0; product.data && !op_has(f, OP_ZERO) && f->shape.T > 2 && e < E; e++) {
        test_set(product, e, -6 - test_uniform("product", e, 0, 1));
        test_set(product, E + e, 6 + test_uniform("product", e, 0, 1));
    }
    for (int64_t e = 0; product.data && op_has(f, OP_NAN) && e < E; e++) {
        test_set(product, 2 * E + e, e % 2 ? NAN : -(double)NAN);
        test_set(product, 3 * E + e, e % 2 ? INFINITY : -INFINITY);
    }
}

/* The functional is <dy, y> + <dunion, q> + penalty * sum of q, or of q^2, over counted tokens; alpha is the
 * penalty. */
static void fill_penalty(const op_fixture *f, beam_tensor dgate)
{
    for (int64_t i = 0; dgate.data && i < beam_count(dgate); i++) {
        const double counted = test_get(f->slot[TOKENS_COUNTED].host, i / f->shape.K);
        const double further = op_has(f, OP_UNION) ? test_get(f->slot[DUNION].host, i) : 0;
        test_set(dgate, i, further + (op_has(f, OP_SQUARED) ? 0 : f->shape.alpha * counted));
    }
}

/* The sum of squares is K times a column of the statistics. */
static void declare_squares(op_fixture *f)
{
    const int64_t columns = BEAM_STAT_EXPERTS + f->shape.E;
    test_fill(op_declare(f, SQUARES, "stats", OP_OUTPUT, BEAM_F64, BEAM_DIMS(columns)), 0);
    const beam_tensor seed = op_seed(f, DSQUARES, "dstats", SQUARES);
    test_fill(seed, 0);
    if (seed.data)
        test_set(seed, BEAM_STAT_SQUARE, f->shape.alpha * (double)f->shape.K);
}

/* In the soft form everything is a variable, except that weights are not where log(K g') would carry a
 * gradient that the method leaves out. In the hard form only weights and rows are: m is a step. */
static void declare_gate_terms(op_fixture *f)
{
    const int64_t T = f->shape.T, E = f->shape.E, K = f->shape.K;
    const op_role role = op_has(f, OP_SOFT) ? OP_VARIABLE : OP_INPUT;
    op_role grad = op_has(f, OP_SOFT) ? OP_GRADIENT : OP_RESULT;
    fill_product(f, op_wide_input(f, PRODUCT, "product", 1, BEAM_DIMS(T, E)));
    f->slot[PRODUCT].role = role;
    op_gradient(f, DPRODUCT, "dproduct", PRODUCT);
    f->slot[DPRODUCT].role = grad;
    if (!op_has(f, OP_WITHOUT)) {
        op_wide_input(f, BIAS, "bias", 0.5, BEAM_DIMS(E));
        test_fill_uniform(op_wide_input(f, SCALE, "scale", 1, BEAM_DIMS(1)), "scale", 0.8, 1.2);
        op_wide_input(f, RANK_BIAS, "rank bias", 0.5, BEAM_DIMS(K));
        op_added(f, DBIAS, "dbias", BIAS, 1);
        op_added(f, DSCALE, "dscale", SCALE, 1);
        op_added(f, DRANK_BIAS, "drank bias", RANK_BIAS, 1);
        f->slot[BIAS].role = f->slot[SCALE].role = f->slot[RANK_BIAS].role = role;
        f->slot[DBIAS].role = f->slot[DSCALE].role = f->slot[DRANK_BIAS].role = grad;
    }
    op_gradient(f, DWEIGHT_OUT, "dweight", OP_WEIGHT);
    if (op_has(f, OP_WITHOUT))
        f->slot[OP_WEIGHT].role = OP_VARIABLE;
    else
        f->slot[DWEIGHT_OUT].role = OP_RESULT;
}

static void declare_give_back(op_fixture *f)
{
    const op_shape *s = &f->shape;
    op_wide_variable(f, GIVEN, "given", 1, BEAM_DIMS(s->E, s->D));
    op_added(f, DVECTOR, "dvector", GIVEN, 1);
    op_declare(f, DGIVEN, "dgiven", OP_RESULT, f->be->wide, BEAM_DIMS(s->T, s->K));
}

/* Gate, plan, activation, combine and, with OP_GIVE_BACK, what dropped experts give back: the whole way from
 * mask logits to the output of the layer. */
static void mask_gate_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    op_declare_route(f, bit(OP_LOGIT) | bit(OP_GATE) | bit(OP_KEEP) | bit(OP_ROW) | bit(OP_PAIR) |
                            bit(OP_FIRST) | bit(OP_KEPT_ROWS));
    declare_gate_terms(f);
    op_declare_counted(f, TOKENS_COUNTED);
    op_declare_pairs(f, PAIRS, true);
    if (op_has(f, OP_UNION))
        op_wide_input(f, DUNION, "dunion", 0.3, BEAM_DIMS(s->T, s->K));
    if (op_has(f, OP_SQUARED))
        declare_squares(f);
    if (op_has(f, OP_SOFT))
        fill_penalty(f, op_seed(f, DGATE, "dgate", OP_GATE));
    if (op_has(f, OP_GIVE_BACK))
        declare_give_back(f);
}

static void mask_gate_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    const beam_gate_terms terms = {.bias = f->t[BIAS],
                                   .scale = f->t[SCALE],
                                   .rank_bias = f->t[RANK_BIAS],
                                   .cutoff = f->shape.beta,
                                   .temperature = op_temperature(f)};
    beam_mask_gate(f->be, &route, f->t[PRODUCT], &terms);
    beam_route_plan(f->be, &route);
    op_pairs_run(f, PAIRS);
    if (op_has(f, OP_GIVE_BACK))
        beam_give_back(f->be, f->t[PAIRS + OP_Y], f->t[GIVEN], &route, op_form(f));
    if (op_has(f, OP_SQUARED))
        beam_mask_stats(f->be, f->t[SQUARES], &route, f->t[TOKENS_COUNTED]);
}

static void mask_gate_back(op_fixture *f)
{
    const beam_route route = op_route(f);
    const beam_gate_terms grad = {.bias = f->t[DBIAS], .scale = f->t[DSCALE], .rank_bias = f->t[DRANK_BIAS]};
    op_pairs_back(f, PAIRS);
    if (op_has(f, OP_GIVE_BACK))
        beam_give_back_grad(f->be, f->t[DVECTOR], f->t[DGIVEN], f->t[PAIRS + OP_DY], f->t[GIVEN], &route,
                            op_form(f));
    const beam_gate_grad_args args = {.dpair = f->t[PAIRS + OP_DPAIR],
                                      .dgiven = f->t[DGIVEN],
                                      .dgate = f->t[DUNION],
                                      .counted = f->t[TOKENS_COUNTED],
                                      .penalty = f->shape.alpha,
                                      .squared = op_has(f, OP_SQUARED),
                                      .temperature = op_temperature(f),
                                      .form = op_form(f)};
    beam_mask_gate_grad(f->be, f->t[DPRODUCT], f->t[DWEIGHT_OUT], &grad, &route, &args);
}

const op_kind op_mask_gate = {"mask_gate", mask_gate_build, mask_gate_run, mask_gate_back};

enum { STATS = OP_OWN + 1 };

static void mask_stats_build(op_fixture *f)
{
    op_declare_route(f, 0);
    op_declare_counted(f, OP_OWN);
    const int64_t columns = BEAM_STAT_EXPERTS + f->shape.E;
    test_fill_integers(op_declare(f, STATS, "stats", OP_OUTPUT, BEAM_F64, BEAM_DIMS(columns)), "stats", 0, 9);
}

static void mask_stats_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_mask_stats(f->be, f->t[STATS], &route, f->t[OP_OWN]);
}

const op_kind op_mask_stats = {"mask_stats", mask_stats_build, mask_stats_run, NULL};
