/* The front of biases, clipping, gated addition, routers, give-back and the experts' products: calls with
 * wrong shapes stop the program. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/ops.h"
#include "support/stops.h"

enum { N = 6 };

/* A call that is right when `wrong` is 0, and wrong in another way for each other number. */
typedef struct {
    beam_backend *be;
    int wrong;
} attempt;

static beam_tensor row(float *data, int64_t n)
{
    return beam_view(data, BEAM_F32, BEAM_DIMS(n));
}

static beam_tensor matrix(float *data, int64_t rows, int64_t columns)
{
    return beam_view(data, BEAM_F32, BEAM_DIMS(rows, columns));
}

static void bias_attempt(void *context)
{
    const attempt *a = context;
    float y[N] = {0}, bias[N] = {0};
    beam_add_bias(a->be, matrix(a->wrong == 1 ? NULL : y, 2, 3), row(bias, a->wrong == 2 ? 2 : 3));
    beam_bias_grad(a->be, row(bias, a->wrong == 3 ? 2 : 3), matrix(y, 2, 3));
}

static void clip_attempt(void *context)
{
    const attempt *a = context;
    float x[N] = {0}, dx[N] = {0};
    beam_clip(a->be, row(x, N), a->wrong == 1 ? 0 : 1);
    beam_clip(a->be, row(x, N), a->wrong == 2 ? (double)NAN : 1);
    beam_clip_grad(a->be, row(dx, a->wrong == 3 ? N - 1 : N), row(x, N), 1);
    beam_clip_grad(a->be, row(dx, N), row(x, N), a->wrong == 4 ? -1 : 1);
}

static void gated_attempt(void *context)
{
    const attempt *a = context;
    float x[N] = {0}, y[N] = {0}, dx[N] = {0}, score[2] = {0}, dscore[2] = {0};
    beam_add_gated(a->be, a->wrong == 1 ? matrix(y, 3, 2) : matrix(y, 2, 3), matrix(x, 2, 3), row(score, 2));
    beam_add_gated(a->be, matrix(y, 2, 3), matrix(x, 2, 3), row(score, a->wrong == 2 ? 1 : 2));
    beam_add_gated_grad(a->be, matrix(dx, 2, 3), row(dscore, a->wrong == 3 ? 1 : 2), matrix(y, 2, 3),
                        matrix(x, 2, 3), row(score, 2));
    beam_add_gated_grad(a->be, matrix(a->wrong == 4 ? NULL : dx, 2, 3), row(dscore, 2), matrix(y, 2, 3),
                        matrix(x, 2, 3), row(score, 2));
}

/* One token with two candidates of four experts. */
static void router_attempt(void *context)
{
    const attempt *a = context;
    const beam_router_rule rules[] = {{.scale = 1, .groups = 2, .kept_groups = 1},
                                      {.scale = 1, .groups = 3, .kept_groups = 3},
                                      {.scale = 1, .groups = 4, .kept_groups = 1}, /* one expert for two */
                                      {.scale = 1, .groups = 2, .kept_groups = 3},
                                      {.scale = 1, .groups = 2, .kept_groups = 0},
                                      {.scale = 1}};
    const beam_router_rule right = rules[0], rule = rules[a->wrong > 5 ? a->wrong - 5 : a->wrong];
    int32_t expert[2] = {0}, kept[4] = {0};
    float weight[2] = {0}, prob[4] = {0}, logits[4] = {0};
    const beam_route route = {.expert = beam_view(expert, BEAM_I32, BEAM_DIMS(1, 2)),
                              .weight = matrix(weight, 1, 2),
                              .kept = beam_view(kept, BEAM_I32, BEAM_DIMS(4))};
    beam_router_topk(a->be, &route, matrix(prob, 1, 4), matrix(logits, 1, 4), a->wrong > 5 ? right : rule);
    beam_router_grad(a->be, matrix(logits, 1, 4), matrix(weight, 1, 2), &route, matrix(prob, 1, 4),
                     (beam_tensor){0}, (beam_tensor){0}, rule);
}

/* One token with two candidates of four columns, of which two are null experts: not in groups, and not more
 * experts than columns. */
static void null_attempt(void *context)
{
    const attempt *a = context;
    const int64_t experts[] = {2, 2, 5, 0};
    const int groups = a->wrong == 1 ? 2 : 1;
    const beam_router_rule rule = {.scale = 1, .groups = groups, .kept_groups = groups};
    int32_t expert[2] = {0}, kept[5] = {0};
    float weight[2] = {0}, prob[4] = {0}, logits[4] = {0};
    const beam_route route = {.expert = beam_view(expert, BEAM_I32, BEAM_DIMS(1, 2)),
                              .weight = matrix(weight, 1, 2),
                              .kept = beam_view(kept, BEAM_I32, BEAM_DIMS(experts[a->wrong]))};
    beam_router_topk(a->be, &route, matrix(prob, 1, 4), matrix(logits, 1, 4), rule);
}

/* One token with two candidates of two experts, hidden size 3. */
static void give_back_attempt(void *context)
{
    const attempt *a = context;
    int32_t expert[2] = {0, 1}, pair[2] = {0, 1}, first[3] = {0, 1, 2}, kept[2] = {0};
    uint8_t keep[2] = {0};
    float weight[2] = {0}, gate[2] = {0}, y[3] = {0}, given[6] = {0}, dvector[6] = {0}, dgiven[2] = {0};
    beam_route route = {.expert = beam_view(expert, BEAM_I32, BEAM_DIMS(1, 2)),
                        .weight = matrix(weight, 1, 2),
                        .gate = matrix(gate, 1, 2),
                        .keep = beam_view(keep, BEAM_U8, BEAM_DIMS(1, 2)),
                        .row = beam_view(pair, BEAM_I32, BEAM_DIMS(1, 2)),
                        .pair = beam_view(pair, BEAM_I32, BEAM_DIMS(2)),
                        .first = beam_view(first, BEAM_I32, BEAM_DIMS(3)),
                        .kept = beam_view(kept, BEAM_I32, BEAM_DIMS(2))};
    beam_give_back(a->be, matrix(y, 1, 3), matrix(given, 2, a->wrong == 1 ? 2 : 3), &route, BEAM_MASK_HARD);
    beam_give_back(a->be, matrix(y, 1, 3), matrix(given, a->wrong == 2 ? 1 : 2, 3), &route, BEAM_MASK_HARD);
    beam_give_back_grad(a->be, matrix(dvector, a->wrong == 3 ? 1 : 2, 3),
                        matrix(dgiven, 1, a->wrong == 4 ? 1 : 2), matrix(y, 1, 3), matrix(given, 2, 3),
                        &route, BEAM_MASK_SOFT);
    route.kept = (beam_tensor){0}; /* without a plan: enough for dgiven, not for dvector */
    beam_give_back_grad(a->be, a->wrong == 5 ? matrix(dvector, 2, 3) : (beam_tensor){0}, matrix(dgiven, 1, 2),
                        matrix(y, 1, 3), matrix(given, 2, 3), &route, BEAM_MASK_HARD);
}

/* One token with two candidates of two experts, from hidden size 3 to gates and ups of width 1. */
static void grouped_attempt(void *context)
{
    const attempt *a = context;
    const int wrong = a->wrong;
    int32_t expert[2] = {0, 1}, pair[2] = {0, 1}, first[3] = {0, 1, 2}, kept[2] = {1, 1};
    uint8_t keep[2] = {1, 1};
    float c[6] = {0}, rows[6] = {0}, x[6] = {0}, b[12] = {0}, act[4] = {0};
    const beam_route route = {.expert = beam_view(expert, BEAM_I32, BEAM_DIMS(1, 2)),
                              .keep =
                                  wrong == 1 ? (beam_tensor){0} : beam_view(keep, BEAM_U8, BEAM_DIMS(1, 2)),
                              .row = beam_view(pair, BEAM_I32, BEAM_DIMS(1, 2)),
                              .pair = beam_view(pair, BEAM_I32, BEAM_DIMS(2)),
                              .first = beam_view(first, BEAM_I32, BEAM_DIMS(3)),
                              .kept = beam_view(kept, BEAM_I32, BEAM_DIMS(wrong == 2 ? 1 : 2))};
    const beam_grouped_product p = {.c = matrix(c, 2, wrong == 3 ? 3 : 2),
                                    .a = matrix(rows, wrong == 4 ? 1 : 2, 3),
                                    .x = matrix(x, wrong == 5 ? 2 : 1, wrong == 6 ? 2 : 3),
                                    .b = beam_view(b, BEAM_F32, BEAM_DIMS(2, 2, 3)),
                                    .act = matrix(act, 2, wrong == 7 ? 2 : 1),
                                    .tb = wrong != 8};
    beam_grouped_gemm(a->be, &p, &route, BEAM_ROWS_KEPT);
}

static void test_wrong_calls_stop(void **state)
{
    (void)state;
    const struct {
        void (*call)(void *context);
        int ways; /* to be wrong */
    } calls[] = {{bias_attempt, 3}, {clip_attempt, 4},      {gated_attempt, 4},  {router_attempt, 10},
                 {null_attempt, 3}, {give_back_attempt, 5}, {grouped_attempt, 8}};
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        for (int wrong = 0; wrong <= calls[i].ways; wrong++)
            assert_int_equal(test_stops(calls[i].call, &(attempt){&be, wrong}), wrong != 0);
    beam_backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wrong_calls_stop)};
    return cmocka_run_group_tests_name("ops.front_mixture", tests, NULL, NULL);
}
