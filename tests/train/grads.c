/* What `beam grads` writes is the derivative of the loss that it prints, under the right names (in double,
 * soft masks; the router-aware term, which passes no gradient to the router, is off). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/safetensors.h"
#include "data/scratch.h"
#include "model/tiny_model.h"
#include "support/differences.h"
#include "support/values.h"
#include "train/grads.h"

static const beam_grads_weights weights = {.penalty = 0.7, .balance = 0.05};

/* Three sequences; of the second, only one token is a target. */
static beam_id_lines batch(void)
{
    static int32_t id[3][5] = {{3, 7, 1, 10, 4}, {2, 9, 9, 0}, {5, 8}};
    static uint8_t loss[3][5] = {{1, 1, 1, 1, 1}, {1, 0, 1, 0}, {1, 1}};
    static beam_id_line line[] = {{.id = id[0], .loss = loss[0], .n = 5},
                                  {.id = id[1], .loss = loss[1], .n = 4},
                                  {.id = id[2], .loss = loss[2], .n = 2}};
    return (beam_id_lines){.line = line, .n = 3, .longest = 5};
}

typedef struct {
    beam_backend backend;
    beam_model *model;
} fixture;

static void open_fixture(fixture *f, beam_scope scope)
{
    const beam_model_config c = tiny_config(true, false, false);
    assert_int_equal(beam_backend_cpu(&f->backend, 1), BEAM_OK);
    f->model = tiny_open(&c, scope, false, &f->backend);
    test_fill(tiny_param(f->model, "model.layers.0.mlp.mask_gate.router_scale")->value, 0);
    test_fill(tiny_param(f->model, "model.layers.1.mlp.mask_gate.router_scale")->value, 0);
    beam_expert_rule rule = beam_model_rule(f->model);
    rule.form = BEAM_MASK_SOFT;
    beam_model_set_rule(f->model, rule);
}

static void close_fixture(fixture *f)
{
    beam_model_close(f->model);
    beam_backend_close(&f->backend);
}

static beam_grads_result run(beam_model *m, const beam_id_lines *lines)
{
    beam_grads_result r;
    if (beam_gradients(m, lines, "lines", &weights, &r) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    return r;
}

typedef struct {
    beam_model *model;
    beam_tensor value;
    int64_t index;
} coordinate;

static double loss_at(void *context, double x)
{
    const coordinate *c = context;
    const beam_id_lines lines = batch();
    const double before = test_get(c->value, c->index);
    test_set(c->value, c->index, x);
    const double loss = run(c->model, &lines).loss;
    test_set(c->value, c->index, before);
    return loss;
}

/* Element `at` of the named tensor in the file is the derivative by element `index` of the parameter. */
static void check_derivative(fixture *f, const beam_weights *file, const char *tensor, int64_t at,
                             const char *param, int64_t index)
{
    const beam_weight *w = beam_weights_find(file, tensor);
    if (!w)
        fail_msg("no tensor %s", tensor);
    float *grad = malloc(w->bytes);
    assert_int_equal(beam_weights_read_f32(file, w, grad), BEAM_OK);
    const double got = (double)grad[at];
    free(grad);
    coordinate c = {.model = f->model, .value = tiny_param(f->model, param)->value, .index = index};
    const double wanted = test_derivative(loss_at, &c, test_get(c.value, index), 1e-3);
    if (!(fabs(got - wanted) <= 1e-6 * (fabs(wanted) + 1e-2)))
        fail_msg("%s[%d]: %.9g in the file, finite difference %.9g", tensor, (int)at, got, wanted);
}

static beam_weights *write_and_open(fixture *f, int64_t *tensors, beam_grads_result *r)
{
    const beam_id_lines lines = batch();
    beam_weights *file;
    *r = run(f->model, &lines);
    assert_int_equal(beam_gradients_write(f->model, r, scratch_path("g.safetensors"), tensors), BEAM_OK);
    assert_int_equal(beam_weights_open(scratch_path("g.safetensors"), &file), BEAM_OK);
    return file;
}

static void file_holds_the_derivative(void **state)
{
    (void)state;
    fixture f;
    int64_t tensors;
    beam_grads_result r;
    open_fixture(&f, BEAM_SCOPE_ALL);
    beam_weights *file = write_and_open(&f, &tensors, &r);
    assert_int_equal(r.tokens, 11);
    assert_int_equal(r.targets, 4 + 1 + 1);
    assert_int_equal(beam_weights_count(file), tensors + 5);
    const int64_t d = 12, width = 9; /* hidden size, expert width */
    check_derivative(&f, file, "model.embed_tokens.weight", 3 * d + 1, "model.embed_tokens.weight",
                     3 * d + 1);
    check_derivative(&f, file, "lm_head.weight", 7 * d, "lm_head.weight", 7 * d);
    check_derivative(&f, file, "model.norm.weight", 2, "model.norm.weight", 2);
    check_derivative(&f, file, "model.layers.0.mlp.gate.weight", d, "model.layers.0.mlp.gate.weight", d);
    check_derivative(&f, file, "model.layers.1.mlp.mask_gate.bias", 1, "model.layers.1.mlp.mask_gate.bias",
                     1);
    check_derivative(&f, file, "model.layers.0.mlp.mask_gate.weight", 5,
                     "model.layers.0.mlp.mask_gate.weight", 5);
    /* Expert 2, hidden unit 8: its gate and up rows are the last group of the interleaved rows. */
    const int64_t gate_up = 2 * 2 * width * d, gate = beam_interleave_row(8, false, width),
                  up = beam_interleave_row(8, true, width);
    assert_int_not_equal(gate, up);
    check_derivative(&f, file, "model.layers.0.mlp.experts.2.gate_proj.weight", 8 * d + 4,
                     "model.layers.0.mlp.experts.gate_up_proj", gate_up + gate * d + 4);
    check_derivative(&f, file, "model.layers.0.mlp.experts.2.up_proj.weight", 8 * d + 4,
                     "model.layers.0.mlp.experts.gate_up_proj", gate_up + up * d + 4);
    check_derivative(&f, file, "model.layers.1.mlp.experts.5.down_proj.weight", 3 * width + 8,
                     "model.layers.1.mlp.experts.down_proj", 5 * d * width + 3 * width + 8);
    beam_weights_close(file);
    close_fixture(&f);
}

static void scalars_and_masks_alone(void **state)
{
    (void)state;
    static const char *const names[] = {"loss", "task_loss", "mask_loss", "balance_loss", "avg_active"};
    fixture f;
    int64_t tensors;
    beam_grads_result r;
    open_fixture(&f, BEAM_SCOPE_MASKS);
    beam_weights *file = write_and_open(&f, &tensors, &r);
    const double values[] = {r.loss, r.task_loss, r.mask_loss, r.balance_loss, r.avg_active};
    assert_int_equal(tensors, 2 * 4); /* weight, bias, router_scale, rank_bias */
    for (int i = 0; i < 5; i++) {
        const beam_weight *w = beam_weights_find(file, names[i]);
        float x;
        assert_non_null(w);
        assert_int_equal(w->bytes, sizeof x);
        assert_int_equal(beam_weights_read_f32(file, w, &x), BEAM_OK);
        assert_true(x == (float)values[i]);
    }
    assert_true(fabs(r.loss - (r.task_loss + 0.7 * r.mask_loss)) < 1e-12 && r.balance_loss == 0);
    beam_weights_close(file);
    close_fixture(&f);
}

static void gates_that_do_not_decide_are_left_out(void **state)
{
    (void)state;
    fixture f;
    int64_t tensors;
    beam_grads_result r;
    open_fixture(&f, BEAM_SCOPE_ALL);
    beam_expert_rule rule = beam_model_rule(f.model);
    rule.masks = false;
    beam_model_set_rule(f.model, rule);
    beam_weights *file = write_and_open(&f, &tensors, &r);
    assert_non_null(beam_weights_find(file, "model.layers.0.mlp.gate.weight"));
    assert_null(beam_weights_find(file, "model.layers.0.mlp.mask_gate.weight"));
    assert_true(r.avg_active == 3);
    beam_weights_close(file);
    close_fixture(&f);
}

static void no_target_is_refused(void **state)
{
    (void)state;
    fixture f;
    beam_grads_result r;
    int32_t id[] = {1, 2};
    uint8_t loss[] = {1, 0};
    beam_id_line line[] = {{.id = id, .loss = loss, .n = 2}};
    const beam_id_lines lines = {.line = line, .n = 1, .longest = 2};
    open_fixture(&f, BEAM_SCOPE_MASKS);
    assert_int_equal(beam_gradients(f.model, &lines, "lines.jsonl", &weights, &r), BEAM_EDATA);
    assert_true(message_has("lines.jsonl: no token is a target"));
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_holds_the_derivative),
        cmocka_unit_test(scalars_and_masks_alone),
        cmocka_unit_test(gates_that_do_not_decide_are_left_out),
        cmocka_unit_test(no_target_is_refused),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
