/* Exporting over a base of either layout: what is written is published, and loads as the model it was. */
#include "serve/export.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/file.h"
#include "model/checkpoint.h"
#include "model/load.h"
#include "support/compare.h"

typedef struct {
    char folder[64], base[96], out[96];
    beam_backend be;
    beam_model *model;
} fixture;

/* A base folder without gates, and a model of it with them. */
static void open_case(fixture *f, const char *name, beam_hf_layout layout)
{
    char from[600], to[128];
    snprintf(f->folder, sizeof f->folder, "/tmp/beam-export-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->base, sizeof f->base, "%s/base", f->folder);
    snprintf(f->out, sizeof f->out, "%s/out", f->folder);
    assert_int_equal(beam_make_folder(f->base), BEAM_OK);
    snprintf(from, sizeof from, "%s/config.json", test_family_folder(name, BEAM_HF_PUBLISHED));
    snprintf(to, sizeof to, "%s/config.json", f->base);
    assert_int_equal(beam_file_copy(from, to), BEAM_OK);
    assert_int_equal(beam_backend_cpu(&f->be, 1), BEAM_OK);
    f->model = test_family_open(&f->be, name, true);
    test_checkpoint base = test_checkpoint_of(f->model, layout, false);
    test_checkpoint_write(&base, f->base);
    test_checkpoint_free(&base);
}

static void close_case(fixture *f)
{
    beam_model_close(f->model);
    beam_backend_close(&f->be);
    assert_int_equal(beam_remove_folder(f->folder), BEAM_OK);
}

static void export_it(fixture *f, bool base_trained, bool adapter)
{
    const beam_export_options options = {.base = f->base,
                                         .run = "run",
                                         .out = f->out,
                                         .base_trained = base_trained,
                                         .adapter_only = adapter,
                                         .dtype = BEAM_F32,
                                         .shard_bytes = UINT64_MAX,
                                         .avg_active = NAN};
    beam_mask_margins margins;
    if (beam_export(f->model, &options, &margins) != BEAM_OK)
        fail_msg("%s", beam_last_error());
}

static void expect_equal_when_loaded(fixture *f, const char *name)
{
    beam_model *m = test_family_open(&f->be, name, true);
    const beam_params params = beam_model_params(m), wanted = beam_model_params(f->model);
    for (int i = 0; i < params.n; i++)
        beam_zero(&f->be, params.at[i].value);
    if (beam_model_load(m, f->out, true) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    for (int i = 0; i < params.n; i++)
        assert_true(test_same(params.at[i].name, params.at[i].value, wanted.at[i].value));
    beam_model_close(m);
}

static void exports_load_as_the_model(void **state)
{
    (void)state;
    for (int i = 0; test_family_name(i); i++)
        for (int layout = 0; layout < 2; layout++)
            for (int trained = 0; trained < 2; trained++) {
                fixture f;
                beam_weights *w;
                beam_hf_layout written;
                open_case(&f, test_family_name(i), layout ? BEAM_HF_FUSED : BEAM_HF_PUBLISHED);
                export_it(&f, trained, false);
                expect_equal_when_loaded(&f, test_family_name(i));
                assert_int_equal(beam_weights_open(f.out, &w), BEAM_OK);
                assert_int_equal(beam_hf_layout_of(w, f.out, &written), BEAM_OK);
                assert_int_equal(written, BEAM_HF_PUBLISHED);
                beam_weights_close(w);
                close_case(&f);
            }
}

static void adapters_use_the_familys_names(void **state)
{
    (void)state;
    fixture f;
    char path[128];
    beam_weights *w;
    open_case(&f, "mixtral", BEAM_HF_FUSED);
    export_it(&f, false, true);
    snprintf(path, sizeof path, "%s/expert_mask.safetensors", f.out);
    assert_int_equal(beam_weights_open(path, &w), BEAM_OK);
    assert_int_equal(beam_weights_count(w), 6); /* weight, bias, dropped_output of two layers */
    assert_non_null(beam_weights_find(w, "model.layers.1.block_sparse_moe.mask_gate.dropped_output"));
    beam_weights_close(w);
    close_case(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exports_load_as_the_model),
        cmocka_unit_test(adapters_use_the_familys_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
