/* Loading folders of both layouts, and what is refused. */
#include "model/load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/file.h"
#include "model/checkpoint.h"
#include "support/compare.h"

typedef struct {
    char folder[64];
    beam_backend be;
    beam_model *model; /* what is saved */
    test_checkpoint saved;
} fixture;

static void open_case(fixture *f, const char *name, beam_hf_layout layout, bool gates)
{
    snprintf(f->folder, sizeof f->folder, "/tmp/beam-load-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    assert_int_equal(beam_backend_cpu(&f->be, 1), BEAM_OK);
    f->model = test_family_open(&f->be, name, gates);
    f->saved = test_checkpoint_of(f->model, layout, gates);
}

static void close_case(fixture *f)
{
    test_checkpoint_free(&f->saved);
    beam_model_close(f->model);
    beam_backend_close(&f->be);
    assert_int_equal(beam_remove_folder(f->folder), BEAM_OK);
}

static void set_zero(beam_model *m)
{
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++)
        beam_zero(beam_model_backend(m), params.at[i].value);
}

static void expect_equal(beam_model *a, beam_model *b)
{
    const beam_params pa = beam_model_params(a), pb = beam_model_params(b);
    assert_int_equal(pa.n, pb.n);
    for (int i = 0; i < pa.n; i++)
        assert_true(test_same(pa.at[i].name, pa.at[i].value, pb.at[i].value));
}

static void both_layouts_give_the_model(void **state)
{
    (void)state;
    for (int i = 0; test_family_name(i); i++)
        for (int gates = 0; gates < 2; gates++)
            for (int layout = 0; layout < 2; layout++) {
                fixture f;
                open_case(&f, test_family_name(i), layout ? BEAM_HF_FUSED : BEAM_HF_PUBLISHED, gates);
                beam_model *m = test_family_open(&f.be, test_family_name(i), gates);
                set_zero(m);
                test_checkpoint_write(&f.saved, f.folder);
                if (beam_model_load(m, f.folder, gates) != BEAM_OK)
                    fail_msg("%s", beam_last_error());
                expect_equal(m, f.model);
                beam_model_close(m);
                close_case(&f);
            }
}

/* The same model, as transformers wrote it in both layouts. */
static void folders_of_transformers_load_alike(void **state)
{
    (void)state;
    for (int i = 0; test_family_name(i); i++) {
        const char *name = test_family_name(i);
        beam_backend be;
        assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
        beam_model *published = test_family_open(&be, name, false),
                   *fused = test_family_open(&be, name, false);
        if (beam_model_load(published, test_family_folder(name, BEAM_HF_PUBLISHED), false) != BEAM_OK)
            fail_msg("%s", beam_last_error());
        if (test_family_fused(name)) {
            if (beam_model_load(fused, test_family_folder(name, BEAM_HF_FUSED), false) != BEAM_OK)
                fail_msg("%s", beam_last_error());
            expect_equal(published, fused);
        }
        beam_model_close(published);
        beam_model_close(fused);
        beam_backend_close(&be);
    }
}

/* Gates of the model that the folder lacks are left alone. */
static void a_base_folder_leaves_gates_alone(void **state)
{
    (void)state;
    fixture f;
    open_case(&f, "qwen2_moe", BEAM_HF_PUBLISHED, false);
    beam_model *m = test_family_open(&f.be, "qwen2_moe", true);
    test_checkpoint_write(&f.saved, f.folder);
    assert_int_equal(beam_model_load(m, f.folder, false), BEAM_OK);
    beam_model *fresh = test_family_open(&f.be, "qwen2_moe", true);
    expect_equal(m, fresh);
    beam_model_close(fresh);
    beam_model_close(m);
    close_case(&f);
}

static void expect_refused(fixture *f, bool gates, const char *what, const char *why)
{
    test_checkpoint_write(&f->saved, f->folder);
    assert_int_equal(beam_model_load(f->model, f->folder, gates), BEAM_EMODEL);
    if (!strstr(beam_last_error(), what) || !strstr(beam_last_error(), why))
        fail_msg("expected \"%s\" and \"%s\" in: %s", what, why, beam_last_error());
}

static void expect_loaded(fixture *f)
{
    test_checkpoint_write(&f->saved, f->folder);
    if (beam_model_load(f->model, f->folder, false) != BEAM_OK)
        fail_msg("%s", beam_last_error());
}

static void missing_tensors_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"model.norm.weight", "model.layers.0.self_attn.v_proj.bias",
                                        "model.layers.1.mlp.experts.2.up_proj.weight",
                                        "model.layers.1.mlp.shared_expert.gate_proj.weight"};
    for (int i = 0; i < 4; i++) {
        fixture f;
        open_case(&f, "qwen2_moe", BEAM_HF_PUBLISHED, false);
        test_checkpoint_remove(&f.saved, names[i]);
        expect_refused(&f, false, names[i], "is missing");
        close_case(&f);
    }
}

static void other_shapes_are_refused(void **state)
{
    (void)state;
    fixture f;
    open_case(&f, "olmoe", BEAM_HF_FUSED, false);
    beam_weight_source *t = test_checkpoint_find(&f.saved, "model.layers.1.mlp.experts.gate_up_proj");
    assert_non_null(t);
    t->dim[1] /= 2; /* of equal size, so that only the shape tells */
    t->dim[2] *= 2;
    expect_refused(&f, false, "gate_up_proj", "has shape [5,12,48], but config.json asks for [5,24,24]");
    close_case(&f);
}

static void unexpected_tensors_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "model.layers.0.self_attn.q_proj.bias", "lm_head.bias", "model.layers.0.mlp.experts.5.up_proj.weight",
        "model.layers.0.mlp.gate.e_score_correction_bias", "model.layers.0.rotary_emb.inv_freq.scale"};
    for (int i = 0; i < 5; i++) {
        fixture f;
        open_case(&f, "olmoe", BEAM_HF_PUBLISHED, false);
        test_checkpoint_add(&f.saved, names[i], BEAM_DIMS(12));
        expect_refused(&f, false, names[i], "is no part of the olmoe model");
        close_case(&f);
    }
}

static void rotary_buffers_are_accepted(void **state)
{
    (void)state;
    fixture f;
    open_case(&f, "olmoe", BEAM_HF_PUBLISHED, false);
    test_checkpoint_add(&f.saved, "model.layers.1.self_attn.rotary_emb.inv_freq", BEAM_DIMS(3));
    expect_loaded(&f);
    close_case(&f);
}

static void a_tied_head_must_be_the_embedding(void **state)
{
    (void)state;
    fixture f;
    open_case(&f, "qwen3_moe_dense", BEAM_HF_PUBLISHED, false);
    test_checkpoint_copy(&f.saved, "lm_head.weight", "model.embed_tokens.weight");
    expect_loaded(&f);
    float *values = test_checkpoint_find(&f.saved, "lm_head.weight")->context;
    values[77] += 1;
    expect_refused(&f, false, "lm_head.weight differs from model.embed_tokens.weight", "tie_word_embeddings");
    close_case(&f);
}

static void mixed_layouts_are_refused(void **state)
{
    (void)state;
    fixture f;
    open_case(&f, "qwen3_moe", BEAM_HF_FUSED, false);
    test_checkpoint_add(&f.saved, "model.layers.1.mlp.experts.0.up_proj.weight", BEAM_DIMS(9, 12));
    expect_refused(&f, false, "model.layers.1.mlp.experts.0.up_proj.weight", "fused");
    test_checkpoint_remove(&f.saved, "model.layers.1.mlp.experts.0.up_proj.weight");
    expect_loaded(&f);
    close_case(&f);
}

static void gates_without_a_block_are_refused(void **state)
{
    (void)state;
    fixture f;
    open_case(&f, "mixtral", BEAM_HF_PUBLISHED, true);
    expect_refused(&f, false, "block_sparse_moe.mask_gate", "is missing");
    test_checkpoint_add(&f.saved, "model.layers.0.block_sparse_moe.mask_gate.rank_bias", BEAM_DIMS(2));
    expect_refused(&f, true, "block_sparse_moe.mask_gate.rank_bias", "does not mention it");
    close_case(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_layouts_give_the_model),
        cmocka_unit_test(folders_of_transformers_load_alike),
        cmocka_unit_test(a_base_folder_leaves_gates_alone),
        cmocka_unit_test(missing_tensors_are_refused),
        cmocka_unit_test(other_shapes_are_refused),
        cmocka_unit_test(unexpected_tensors_are_refused),
        cmocka_unit_test(rotary_buffers_are_accepted),
        cmocka_unit_test(a_tied_head_must_be_the_embedding),
        cmocka_unit_test(mixed_layouts_are_refused),
        cmocka_unit_test(gates_without_a_block_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
