/* Names, shapes and row orders of Hugging Face's tensors, for every family and both layouts of experts. */
#include "model/hf_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/checkpoint.h"

static const beam_hf_layout layouts[] = {BEAM_HF_PUBLISHED, BEAM_HF_FUSED};

typedef struct {
    beam_model_config config;
    beam_model_weights weights;
    beam_backend be;
    beam_hf_map map;
} fixture;

/* Parameters with memory and the map of one case. */
static void open_case(fixture *f, const char *name, beam_hf_layout layout)
{
    f->config = test_family_config(name);
    assert_int_equal(beam_backend_cpu(&f->be, 1), BEAM_OK);
    assert_int_equal(beam_model_weights_alloc(&f->weights, &f->config, BEAM_SCOPE_NONE, &f->be), BEAM_OK);
    assert_int_equal(beam_hf_map_build(&f->config, f->weights.params, layout, &f->map), BEAM_OK);
}

static void close_case(fixture *f)
{
    beam_hf_map_free(&f->map);
    beam_model_weights_free(&f->weights, &f->be);
    beam_backend_close(&f->be);
}

static const beam_hf_tensor *find(const fixture *f, const char *name)
{
    for (int64_t i = 0; i < f->map.n; i++)
        if (strcmp(f->map.at[i].name, name) == 0)
            return &f->map.at[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

/* The number of runs that the map has of tensor w; they must follow one another and make up all of it. */
static int64_t runs_of(const fixture *f, const beam_weight *w)
{
    int64_t runs = 0, next = 0;
    for (int64_t i = 0; i < f->map.n; i++) {
        const beam_hf_tensor *t = &f->map.at[i];
        if (strcmp(t->name, w->name) != 0)
            continue;
        assert_int_equal(t->ndim, w->ndim);
        assert_memory_equal(t->dim, w->dim, (size_t)w->ndim * sizeof *w->dim);
        assert_int_equal(t->first, next);
        next += t->rows * t->row;
        runs++;
    }
    if (runs == 0)
        fail_msg("transformers has the tensor %s", w->name);
    assert_int_equal(next, w->bytes / beam_dtype_size(w->dtype));
    return runs;
}

static void names_are_those_of_transformers(void **state)
{
    (void)state;
    for (int i = 0; test_family_name(i); i++)
        for (int j = 0; j < (test_family_fused(test_family_name(i)) ? 2 : 1); j++) {
            fixture f;
            beam_weights *w;
            beam_hf_layout layout;
            int64_t runs = 0;
            open_case(&f, test_family_name(i), layouts[j]);
            const char *folder = test_family_folder(test_family_name(i), layouts[j]);
            assert_int_equal(beam_weights_open(folder, &w), BEAM_OK);
            assert_int_equal(beam_hf_layout_of(w, folder, &layout), BEAM_OK);
            assert_int_equal(layout, layouts[j]);
            for (int64_t t = 0; t < beam_weights_count(w); t++)
                runs += runs_of(&f, beam_weights_at(w, t));
            assert_int_equal(runs, f.map.n); /* and nothing that transformers has not */
            beam_weights_close(w);
            close_case(&f);
        }
}

/* Export copies run i of a base in one layout to run i of the other. */
static void layouts_have_the_same_runs(void **state)
{
    (void)state;
    for (int i = 0; test_family_name(i); i++) {
        fixture a, b;
        open_case(&a, test_family_name(i), BEAM_HF_PUBLISHED);
        open_case(&b, test_family_name(i), BEAM_HF_FUSED);
        assert_int_equal(a.map.n, b.map.n);
        for (int64_t t = 0; t < a.map.n; t++) {
            const beam_hf_tensor *x = &a.map.at[t], *y = &b.map.at[t];
            assert_true(x->param == y->param && x->part == y->part && x->expert == y->expert);
            assert_true(x->rows == y->rows && x->row == y->row && x->first == 0);
        }
        close_case(&a);
        close_case(&b);
    }
}

static void mask_gates_stand_beside_the_router(void **state)
{
    (void)state;
    static const char *const parts[] = {"weight", "bias", "router_scale", "rank_bias", "dropped_output"};
    for (int i = 0; test_family_name(i); i++) {
        beam_model_config c = test_family_config(test_family_name(i));
        beam_model_weights w;
        beam_hf_map map;
        c.mask = (beam_mask_config){
            .present = true, .threshold = 0.5, .bias = true, .router_features = true, .give_back = true};
        assert_int_equal(beam_model_weights_list(&w, &c, BEAM_SCOPE_NONE, BEAM_F32), BEAM_OK);
        assert_int_equal(beam_hf_map_build(&c, w.params, BEAM_HF_PUBLISHED, &map), BEAM_OK);
        const char *mlp = strcmp(c.model_type, "mixtral") == 0 ? "block_sparse_moe" : "mlp";
        for (int part = 0; part < 5; part++) {
            char name[128];
            int found = 0;
            snprintf(name, sizeof name, "model.layers.%d.%s.mask_gate.%s", c.moe_layer[0] ? 0 : 1, mlp,
                     parts[part]);
            for (int64_t t = 0; t < map.n; t++)
                found += strcmp(map.at[t].name, name) == 0;
            assert_int_equal(found, 1);
        }
        beam_hf_map_free(&map);
        beam_model_weights_unlist(&w);
    }
}

/* Writes consecutive numbers from *next on through run t, a few rows at a time. */
static void put_numbers(fixture *f, const beam_hf_tensor *t, int64_t step, float *next)
{
    float *rows = malloc((size_t)(step * t->row) * sizeof *rows);
    assert_non_null(rows);
    for (int64_t r = 0, n; r < t->rows; r += n) {
        n = step < t->rows - r ? step : t->rows - r;
        for (int64_t i = 0; i < n * t->row; i++)
            rows[i] = (*next)++;
        assert_int_equal(beam_hf_put(&f->be, t, f->weights.params.at[t->param].value, r, n, rows), BEAM_OK);
    }
    free(rows);
}

/* Reads them back in other portions. */
static void check_numbers(fixture *f, const beam_hf_tensor *t, int64_t step, float *next)
{
    float *rows = malloc((size_t)(step * t->row) * sizeof *rows);
    assert_non_null(rows);
    for (int64_t r = 0, n; r < t->rows; r += n) {
        n = step < t->rows - r ? step : t->rows - r;
        assert_int_equal(beam_hf_get(&f->be, t, f->weights.params.at[t->param].value, r, n, rows), BEAM_OK);
        for (int64_t i = 0; i < n * t->row; i++)
            assert_true(rows[i] == (*next)++);
    }
    free(rows);
}

/* Every element of every parameter has one place in the checkpoint, and get is the inverse of put. */
static void rows_go_and_come_back(void **state)
{
    (void)state;
    for (int i = 0; test_family_name(i); i++)
        for (int j = 0; j < 2; j++) {
            fixture f;
            int64_t elements = 0;
            float next = 0;
            open_case(&f, test_family_name(i), layouts[j]);
            for (int p = 0; p < f.weights.params.n; p++)
                elements += beam_count(f.weights.params.at[p].value);
            for (int64_t t = 0; t < f.map.n; t++)
                put_numbers(&f, &f.map.at[t], 5, &next);
            assert_true(next == (float)elements);
            next = 0;
            for (int64_t t = 0; t < f.map.n; t++) /* fails if a later row was put over an earlier one */
                check_numbers(&f, &f.map.at[t], 7, &next);
            close_case(&f);
        }
}

/* Puts row numbers into each element of all runs of a tensor, counted over the tensor. */
static void put_row_numbers(fixture *f, const char *name)
{
    for (int64_t i = 0; i < f->map.n; i++) {
        const beam_hf_tensor *t = &f->map.at[i];
        if (strcmp(t->name, name) != 0)
            continue;
        float row[64];
        assert_true(t->row <= 64);
        for (int64_t r = 0; r < t->rows; r++) {
            for (int64_t j = 0; j < t->row; j++)
                row[j] = (float)(t->first / t->row + r);
            assert_int_equal(beam_hf_put(&f->be, t, f->weights.params.at[t->param].value, r, 1, row),
                             BEAM_OK);
        }
    }
}

/* Rows first + i of the parameter hold the tensor's rows shift + expected[i]. */
static void expect_rows(const fixture *f, const char *name, int64_t first, int n, const int expected[],
                        int shift)
{
    const beam_param *p = &f->weights.params.at[find(f, name)->param];
    const int64_t width = p->value.dim[p->value.ndim - 1];
    for (int i = 0; i < n; i++)
        assert_true(((const float *)p->value.data)[(first + i) * width] == (float)(shift + expected[i]));
}

/* 12 gate rows, then 12 up rows of each expert: a group of 8 of both, then one of 4. */
static const int fused_rows[24] = {0,  1,  2,  3,  4, 5, 6,  7,  12, 13, 14, 15,
                                   16, 17, 18, 19, 8, 9, 10, 11, 20, 21, 22, 23};

static void fused_experts_are_interleaved(void **state)
{
    (void)state;
    static const char name[] = "model.layers.1.mlp.experts.gate_up_proj";
    fixture f;
    open_case(&f, "mixtral", BEAM_HF_FUSED);
    put_row_numbers(&f, name);
    for (int e = 0; e < 6; e++)
        expect_rows(&f, name, 24 * e, 24, fused_rows, 24 * e);
    close_case(&f);
}

static void published_experts_are_interleaved(void **state)
{
    (void)state;
    static const char gate[] = "model.layers.1.block_sparse_moe.experts.2.w1.weight",
                      up[] = "model.layers.1.block_sparse_moe.experts.2.w3.weight";
    fixture f;
    open_case(&f, "mixtral", BEAM_HF_PUBLISHED);
    put_row_numbers(&f, gate);
    put_row_numbers(&f, up);
    expect_rows(&f, gate, 48, 8, fused_rows, 0);
    expect_rows(&f, gate, 56, 8, fused_rows + 8, -12); /* up rows counted from 0 */
    expect_rows(&f, gate, 64, 4, fused_rows + 16, 0);
    expect_rows(&f, gate, 68, 4, fused_rows + 20, -12);
    close_case(&f);
}

/* Four heads of 2 rows that do not rotate and 8 that do; the key's 8 stand behind the latent's 10. */
static void neighbours_become_halves(void **state)
{
    (void)state;
    static const char *const query[][2] = {
        {"deepseek_v2", "model.layers.1.self_attn.q_proj.weight"},
        {"deepseek_v2_groups", "model.layers.1.self_attn.q_b_proj.weight"}};
    static const char key[] = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight";
    static const int head[10] = {0, 1, 2, 4, 6, 8, 3, 5, 7, 9};
    static const int latent[18] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 11, 13, 15, 17};
    for (int i = 0; i < 2; i++) {
        fixture f;
        open_case(&f, query[i][0], BEAM_HF_PUBLISHED);
        put_row_numbers(&f, query[i][1]);
        for (int h = 0; h < 4; h++)
            expect_rows(&f, query[i][1], 10 * h, 10, head, 10 * h);
        put_row_numbers(&f, key);
        expect_rows(&f, key, 0, 18, latent, 0);
        close_case(&f);
    }
}

static void halves_stay(void **state)
{
    (void)state;
    static const char name[] = "model.layers.1.self_attn.k_proj.weight";
    static const int head[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    fixture f;
    open_case(&f, "qwen3_moe", BEAM_HF_PUBLISHED);
    put_row_numbers(&f, name);
    for (int h = 0; h < 2; h++)
        expect_rows(&f, name, 8 * h, 8, head, 8 * h);
    close_case(&f);
}

/* Four heads of 2 key rows and 6 value rows. */
static void keys_stand_before_values(void **state)
{
    (void)state;
    static const char name[] = "model.layers.0.self_attn.kv_b_proj.weight";
    static const int head[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    fixture f;
    open_case(&f, "deepseek_v2", BEAM_HF_PUBLISHED);
    put_row_numbers(&f, name);
    for (int h = 0; h < 4; h++) {
        expect_rows(&f, name, 2 * h, 2, head, 8 * h);
        expect_rows(&f, name, 8 + 6 * h, 6, head + 2, 8 * h);
    }
    close_case(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_transformers),
        cmocka_unit_test(layouts_have_the_same_runs),
        cmocka_unit_test(mask_gates_stand_beside_the_router),
        cmocka_unit_test(rows_go_and_come_back),
        cmocka_unit_test(fused_experts_are_interleaved),
        cmocka_unit_test(published_experts_are_interleaved),
        cmocka_unit_test(neighbours_become_halves),
        cmocka_unit_test(halves_stay),
        cmocka_unit_test(keys_stand_before_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
