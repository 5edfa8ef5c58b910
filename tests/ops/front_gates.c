/* The front of gates, the union penalty and distillation: calls with wrong shapes or numbers stop the
 * program. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/ops.h"
#include "support/stops.h"

/* Two tokens with two candidates of three experts. */
typedef struct {
    int32_t expert[4], first[4], kept[3];
    uint8_t keep[4], counted[2];
    float weight[4], logit[4], gate[4], product[6], pair[4];
    double sum[2];
} numbers;

/* A call that is right when `wrong` is 0, and wrong in another way for each other number. */
typedef struct {
    beam_backend *be;
    int wrong;
} attempt;

static beam_tensor matrix(float *data, int64_t rows, int64_t columns)
{
    return beam_view(data, BEAM_F32, BEAM_DIMS(rows, columns));
}

static beam_route route_of(numbers *n)
{
    return (beam_route){.expert = beam_view(n->expert, BEAM_I32, BEAM_DIMS(2, 2)),
                        .weight = matrix(n->weight, 2, 2),
                        .logit = matrix(n->logit, 2, 2),
                        .gate = matrix(n->gate, 2, 2),
                        .keep = beam_view(n->keep, BEAM_U8, BEAM_DIMS(2, 2)),
                        .first = beam_view(n->first, BEAM_I32, BEAM_DIMS(4)),
                        .kept = beam_view(n->kept, BEAM_I32, BEAM_DIMS(3))};
}

static void open_attempt(void *context)
{
    const attempt *a = context;
    const beam_prune_rule rules[] = {
        {.keep = 1, .share = 0.5}, {.keep = -1, .share = 0.5},        {.keep = 1},
        {.keep = 1, .share = 1.5}, {.keep = 1, .share = (double)NAN}, {.keep = 1, .share = 1, .anchor = -1}};
    numbers n = {.expert = {0, 1, 1, 2}};
    const beam_route route = route_of(&n);
    beam_gate_open(a->be, &route, rules[a->wrong]);
}

static void mask_attempt(void *context)
{
    const attempt *a = context;
    const double temperature[] = {1, 0, -1, (double)NAN};
    numbers n = {.expert = {0, 1, 1, 2}};
    const beam_route route = route_of(&n);
    const beam_gate_terms terms = {.temperature = temperature[a->wrong]};
    beam_mask_gate(a->be, &route, matrix(n.product, 2, 3), &terms);
}

static void mask_grad_attempt(void *context)
{
    const attempt *a = context;
    numbers n = {.expert = {0, 1, 1, 2}};
    const beam_route route = route_of(&n);
    const beam_gate_terms none = {0};
    const beam_gate_grad_args args = {
        .dpair = matrix(n.pair, 2, a->wrong == 1 ? 1 : 2),
        .dgiven = matrix(n.pair, a->wrong == 2 ? 1 : 2, 2),
        .dgate = matrix(n.pair, a->wrong == 3 ? 1 : 2, 2),
        .counted = beam_view(n.counted, BEAM_U8, BEAM_DIMS(a->wrong == 4 ? 1 : 2)),
        .temperature = a->wrong == 5 ? 0 : 1,
    };
    beam_mask_gate_grad(a->be, matrix(n.product, 2, 3), matrix(n.weight, 2, 2), &none, &route, &args);
}

static void union_attempt(void *context)
{
    const attempt *a = context;
    numbers n = {.expert = {0, 1, 1, 2}};
    beam_route route = route_of(&n);
    if (a->wrong == 1)
        route.kept = (beam_tensor){0};
    if (a->wrong == 2)
        route.gate = (beam_tensor){0};
    beam_union_penalty(a->be, matrix(n.pair, 2, a->wrong == 3 ? 1 : 2),
                       beam_view(n.sum, a->wrong == 4 ? BEAM_F32 : BEAM_F64, BEAM_DIMS(2)), &route,
                       beam_view(n.counted, BEAM_U8, BEAM_DIMS(a->wrong == 5 ? 1 : 2)),
                       a->wrong == 6   ? 0
                       : a->wrong == 7 ? 3
                                       : 2,
                       1);
}

/* Two tokens, a vocabulary of three. */
static void distill_attempt(void *context)
{
    const attempt *a = context;
    const beam_distill_args every[] = {{.weight = 0.5, .temperature = 1},
                                       {.weight = -0.1, .temperature = 1},
                                       {.weight = 1.1, .temperature = 1},
                                       {.weight = (double)NAN, .temperature = 1},
                                       {.weight = 0.5},
                                       {.weight = 0.5, .temperature = (double)NAN}};
    float logits[6] = {0}, teacher[6] = {0}, loss[2] = {0}, divergence[2] = {0};
    int32_t target[2] = {0, 1};
    uint8_t correct[2] = {0};
    beam_distill(a->be, matrix(logits, 2, 3), matrix(teacher, a->wrong == 6 ? 1 : 2, 3),
                 beam_view(target, BEAM_I32, BEAM_DIMS(a->wrong == 7 ? 1 : 2)),
                 beam_view(loss, BEAM_F32, BEAM_DIMS(2)),
                 beam_view(divergence, BEAM_F32, BEAM_DIMS(a->wrong == 8 ? 1 : 2)),
                 beam_view(correct, BEAM_U8, BEAM_DIMS(2)), &every[a->wrong > 5 ? 0 : a->wrong]);
}

static void test_wrong_calls_stop(void **state)
{
    (void)state;
    const struct {
        void (*call)(void *context);
        int ways; /* to be wrong */
    } calls[] = {{open_attempt, 5},
                 {mask_attempt, 3},
                 {mask_grad_attempt, 5},
                 {union_attempt, 7},
                 {distill_attempt, 8}};
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
    return cmocka_run_group_tests_name("ops.front_gates", tests, NULL, NULL);
}
