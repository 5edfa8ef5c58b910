/* Checkpoints: every bit comes back, damage is noticed, and what is refused says why. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/rng.h"
#include "data/checkpoint.h"
#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/json.h"
#include "data/scratch.h"

enum { ARRAYS = 5 };
static const char config[] = "seed: 7\n";

typedef struct {
    float weight[33][7];
    double moment[50];
    int32_t order[11];
    int64_t place[3];
    uint8_t flag[5];
} arrays_of_run;

/* The bytes of step `step`: random, but finite. */
static void fill_run(arrays_of_run *r, int64_t step)
{
    memset(r, 0, sizeof *r);
    for (uint64_t i = 0; i < 33 * 7; i++)
        r->weight[i / 7][i % 7] = (float)beam_random_normal(1, (uint64_t)step, i);
    for (uint64_t i = 0; i < 50; i++)
        r->moment[i] = beam_random_normal(2, (uint64_t)step, i);
    for (uint64_t i = 0; i < 11; i++)
        r->order[i] = (int32_t)beam_random_bits(3, (uint64_t)step, i);
    for (uint64_t i = 0; i < 3; i++)
        r->place[i] = (int64_t)beam_random_bits(4, (uint64_t)step, i);
    for (uint64_t i = 0; i < 5; i++)
        r->flag[i] = (uint8_t)beam_random_bits(5, (uint64_t)step, i);
    r->weight[0][0] = -0.0f;
    r->weight[0][1] = 1e-45f;
    r->moment[0] = 5e-324;
}

static void view_run(arrays_of_run *r, beam_array a[ARRAYS])
{
    a[0] = (beam_array){"param/model.layers.0.weight", beam_view(r->weight, BEAM_F32, BEAM_DIMS(33, 7))};
    a[1] = (beam_array){"adam/m/model.layers.0.weight", beam_view(r->moment, BEAM_F64, BEAM_DIMS(50))};
    a[2] = (beam_array){"order", beam_view(r->order, BEAM_I32, BEAM_DIMS(11))};
    a[3] = (beam_array){"place", beam_view(r->place, BEAM_I64, BEAM_DIMS(3, 1))};
    a[4] = (beam_array){"flag", beam_view(r->flag, BEAM_U8, BEAM_DIMS(5))};
}

static beam_checkpoint_state state_of(int64_t step)
{
    beam_checkpoint_state s = {.step = step,
                               .rows = step * 8,
                               .tokens = INT64_MAX - step,
                               .skipped = 3,
                               .skipped_in_a_row = 1,
                               .penalty = 0.1 + (double)step / 3,
                               .average_active = -1,
                               .seconds = 1e-310,
                               .best_loss = INFINITY,
                               .eval_loss = -1,
                               .model_hash = UINT64_MAX - (uint64_t)step,
                               .data_hash = 0,
                               .config_hash = 0x8000000000000001ull};
    snprintf(s.model, sizeof s.model, "models/with \"quotes\" and \xc3\xa4");
    return s;
}

static beam_status write_step(const char *out_dir, int64_t step)
{
    arrays_of_run run;
    beam_array arrays[ARRAYS];
    const beam_checkpoint_state s = state_of(step);
    fill_run(&run, step);
    view_run(&run, arrays);
    return beam_checkpoint_write(out_dir, &s, arrays, ARRAYS, config);
}

static void assert_same_state(const beam_checkpoint_state *a, const beam_checkpoint_state *b)
{
    assert_memory_equal(a, b, offsetof(beam_checkpoint_state, model));
    assert_string_equal(a->model, b->model);
}

/* The newest checkpoint of out_dir is that of `step`, bit for bit; -1: there is none. */
static void assert_newest(const char *out_dir, int64_t step)
{
    char path[512];
    bool found;
    arrays_of_run run, wanted;
    beam_array arrays[ARRAYS];
    beam_checkpoint_state s, want_state = state_of(step < 0 ? 0 : step);
    assert_int_equal(beam_checkpoint_newest(out_dir, path, sizeof path, &found), BEAM_OK);
    assert_int_equal(found, step >= 0);
    if (!found)
        return;
    memset(&run, 0, sizeof run);
    view_run(&run, arrays);
    fill_run(&wanted, step);
    assert_int_equal(beam_checkpoint_read(path, &s, arrays, ARRAYS), BEAM_OK);
    assert_memory_equal(&run, &wanted, sizeof run);
    assert_same_state(&s, &want_state);
    assert_int_equal(beam_checkpoint_read_state(path, &s), BEAM_OK);
    assert_same_state(&s, &want_state);
}

static void round_trip(void **state)
{
    (void)state;
    size_t size;
    const char *out = scratch_path("round/trip");
    assert_newest(out, -1);
    assert_int_equal(write_step(out, 0), BEAM_OK);
    assert_newest(out, 0);
    assert_int_equal(write_step(out, 500), BEAM_OK);
    assert_int_equal(write_step(out, 1234567), BEAM_OK);
    assert_newest(out, 1234567);
    char *text = scratch_read(scratch_path("round/trip/checkpoint-000500/config.yaml"), &size);
    assert_string_equal(text, config);
    free(text);
    assert_int_equal(scratch_count(out, ""), 3);
    assert_int_equal(scratch_count(scratch_path("round/trip/checkpoint-000500"), ""), 3);
}

static void replaces_the_same_step(void **state)
{
    (void)state;
    arrays_of_run run;
    beam_array arrays[ARRAYS];
    const char *out = scratch_path("again");
    beam_checkpoint_state s = state_of(5), got;
    assert_int_equal(write_step(out, 5), BEAM_OK);
    s.rows = 77;
    fill_run(&run, 5);
    view_run(&run, arrays);
    run.weight[3][3] = 42;
    assert_int_equal(beam_checkpoint_write(out, &s, arrays, ARRAYS, config), BEAM_OK);
    memset(&run, 0, sizeof run);
    assert_int_equal(beam_checkpoint_read(scratch_path("again/checkpoint-000005"), &got, arrays, ARRAYS),
                     BEAM_OK);
    assert_int_equal(got.rows, 77);
    assert_true(run.weight[3][3] == 42);
    assert_int_equal(scratch_count(out, ""), 1);
}

static void flip(const char *path, size_t bit)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, (long)(bit / 8), SEEK_SET), 0);
    const int byte = fgetc(f);
    assert_int_equal(fseek(f, (long)(bit / 8), SEEK_SET), 0);
    assert_true(fputc(byte ^ (1 << bit % 8), f) != EOF);
    assert_int_equal(fclose(f), 0);
}

/* Each bit of the small files and 4,000 of the large one: refused, and the previous checkpoint is used. */
static beam_status write_evaluated(const char *out_dir, int64_t step, double eval_loss)
{
    arrays_of_run run;
    beam_array arrays[ARRAYS];
    beam_checkpoint_state s = state_of(step);
    s.eval_loss = eval_loss;
    fill_run(&run, step);
    view_run(&run, arrays);
    return beam_checkpoint_write(out_dir, &s, arrays, ARRAYS, config);
}

static void keeps_the_best(void **state)
{
    (void)state;
    static const double loss[] = {-1, 3.0, 2.0, NAN, 2.0, 2.5, -1, INFINITY};
    static const char *const kept[] = {"best/checkpoint-000002", "best/checkpoint-000006",
                                       "best/checkpoint-000007"};
    const char *out = scratch_path("best");
    for (int i = 0; i < 8; i++) {
        assert_int_equal(write_evaluated(out, i, loss[i]), BEAM_OK);
        assert_int_equal(beam_checkpoint_prune(out, 2, -1), BEAM_OK);
    }
    assert_int_equal(scratch_count(out, ""), 3);
    for (int i = 0; i < 3; i++)
        assert_true(beam_folder_exists(scratch_path(kept[i])));
    /* A better one takes its place. */
    assert_int_equal(write_evaluated(out, 8, 1.5), BEAM_OK);
    assert_int_equal(beam_checkpoint_prune(out, 2, -1), BEAM_OK);
    assert_int_equal(scratch_count(out, ""), 2);
    assert_true(beam_folder_exists(scratch_path("best/checkpoint-000007")));
    assert_true(beam_folder_exists(scratch_path("best/checkpoint-000008")));
}

/* Rewrites the manifest as an earlier version wrote it, without the loss of its step. */
static void reads_an_older_manifest(void **state)
{
    (void)state;
    const char *out = scratch_path("older"), *folder = scratch_path("older/checkpoint-000003"),
               *path = scratch_path("older/checkpoint-000003/manifest.json");
    char hex[BEAM_SHA256_HEX];
    json_t *root;
    beam_checkpoint_state s;
    assert_int_equal(write_evaluated(out, 3, 2.5), BEAM_OK);
    assert_int_equal(beam_checkpoint_read_state(folder, &s), BEAM_OK);
    assert_true(s.eval_loss == 2.5);
    assert_int_equal(beam_json_read(path, 1 << 20, BEAM_EMODEL, &root), BEAM_OK);
    json_object_del(root, "sha256");
    assert_int_equal(json_object_del(json_object_get(root, "state"), "eval_loss"), 0);
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    beam_sha256(text, strlen(text), hex);
    free(text);
    json_object_set_new(root, "sha256", json_string(hex));
    text = json_dumps(root, 0);
    scratch_write("older/checkpoint-000003/manifest.json", text, strlen(text));
    free(text);
    json_decref(root);
    assert_int_equal(beam_checkpoint_read_state(folder, &s), BEAM_OK);
    assert_true(isnan(s.eval_loss) && s.step == 3);
}

static void notices_every_flipped_bit(void **state)
{
    (void)state;
    static const char *const files[] = {"state.h5", "config.yaml", "manifest.json"};
    const char *out = scratch_path("flips"), *newest = scratch_path("flips/checkpoint-000002");
    assert_int_equal(write_step(out, 1), BEAM_OK);
    assert_int_equal(write_step(out, 2), BEAM_OK);
    for (int f = 0; f < 3; f++) {
        char path[512];
        struct stat info;
        beam_checkpoint_state s;
        snprintf(path, sizeof path, "%s/%s", newest, files[f]);
        assert_int_equal(stat(path, &info), 0);
        const size_t bits = (size_t)info.st_size * 8, flips = f > 0 ? bits : 4000;
        for (size_t k = 0; k < flips; k++) {
            const size_t bit = f > 0 ? k : beam_random_bits(9, 0, k) % bits;
            flip(path, bit);
            assert_int_equal(beam_checkpoint_read_state(newest, &s), BEAM_EMODEL);
            if (k % 1000 == 0)
                assert_newest(out, 1);
            flip(path, bit);
        }
        assert_newest(out, 2);
    }
}

static void notices_missing_and_cut_files(void **state)
{
    (void)state;
    static const char *const files[] = {"state.h5", "config.yaml", "manifest.json"};
    const char *out = scratch_path("cut");
    assert_int_equal(write_step(out, 1), BEAM_OK);
    for (int f = 0; f < 3; f++) {
        char name[128];
        size_t size;
        snprintf(name, sizeof name, "cut/checkpoint-000002/%s", files[f]);
        assert_int_equal(write_step(out, 2), BEAM_OK);
        char *bytes = scratch_read(scratch_path(name), &size);
        for (size_t n = 0; n < size; n += size / 20 + 1) {
            scratch_write(name, bytes, n);
            assert_newest(out, 1);
        }
        free(bytes);
        assert_int_equal(unlink(scratch_path(name)), 0);
        assert_newest(out, 1);
        assert_int_equal(symlink("/dev/zero", scratch_path(name)), 0);
        assert_newest(out, 1);
        assert_int_equal(beam_remove_folder(scratch_path("cut/checkpoint-000002")), BEAM_OK);
    }
    beam_checkpoint_state s;
    assert_int_equal(beam_checkpoint_read_state(scratch_path("cut"), &s), BEAM_EMODEL);
    assert_true(message_has("not a complete checkpoint"));
}

static void refuses_other_arrays(void **state)
{
    (void)state;
    arrays_of_run run, before;
    beam_array a[ARRAYS];
    beam_checkpoint_state s = {.step = -5};
    const char *out = scratch_path("other"), *path = scratch_path("other/checkpoint-000003");
    assert_int_equal(write_step(out, 3), BEAM_OK);
    fill_run(&run, 8);
    before = run;
    view_run(&run, a);
    assert_int_equal(beam_checkpoint_read(path, &s, a, ARRAYS - 1), BEAM_EMODEL);
    assert_true(message_has("5 arrays") && message_has("checkpoint-000003"));
    a[2].name = "another";
    assert_int_equal(beam_checkpoint_read(path, &s, a, ARRAYS), BEAM_EMODEL);
    view_run(&run, a);
    a[0].tensor = beam_view(run.weight, BEAM_F32, BEAM_DIMS(7, 33));
    assert_int_equal(beam_checkpoint_read(path, &s, a, ARRAYS), BEAM_EMODEL);
    assert_true(message_has("param/model.layers.0.weight"));
    view_run(&run, a);
    a[2].tensor.dtype = BEAM_F32;
    assert_int_equal(beam_checkpoint_read(path, &s, a, ARRAYS), BEAM_EMODEL);
    assert_memory_equal(&run, &before, sizeof run);
    assert_int_equal(s.step, -5);
}

static void refuses_what_is_not_finite(void **state)
{
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    arrays_of_run run;
    beam_array a[ARRAYS];
    const char *out = scratch_path("finite");
    const beam_checkpoint_state s = state_of(2);
    assert_int_equal(write_step(out, 1), BEAM_OK);
    for (int i = 0; i < 6; i++) {
        fill_run(&run, 2);
        view_run(&run, a);
        if (i % 2)
            run.moment[49] = bad[i / 2];
        else
            run.weight[32][6] = (float)bad[i / 2];
        assert_int_equal(beam_checkpoint_write(out, &s, a, ARRAYS, config), BEAM_ENUMERIC);
        assert_true(message_has(i % 2 ? "element 49 of adam/m" : "element 230 of param/"));
        assert_int_equal(scratch_count(out, ""), 1);
        assert_newest(out, 1);
    }
}

static void prunes(void **state)
{
    (void)state;
    const char *out = scratch_path("prune");
    for (int64_t step = 1; step <= 6; step++)
        assert_int_equal(write_step(out, step), BEAM_OK);
    assert_int_equal(beam_make_folder(scratch_path("prune/checkpoint-final")), BEAM_OK);
    assert_int_equal(beam_make_folder(scratch_path("prune/checkpoint-7")), BEAM_OK);
    assert_int_equal(beam_checkpoint_prune(out, 3, 2), BEAM_OK); /* keeps 6 5 4 and 2 */
    assert_int_equal(scratch_count(out, "checkpoint-00000"), 4);
    assert_true(beam_folder_exists(scratch_path("prune/checkpoint-000002")));
    assert_false(beam_folder_exists(scratch_path("prune/checkpoint-000003")));
    assert_true(beam_folder_exists(scratch_path("prune/checkpoint-final")));
    assert_true(beam_folder_exists(scratch_path("prune/checkpoint-7")));

    /* Two damaged ones do not count towards the limit. */
    assert_int_equal(unlink(scratch_path("prune/checkpoint-000006/manifest.json")), 0);
    assert_int_equal(truncate(scratch_path("prune/checkpoint-000005/state.h5"), 9), 0);
    assert_int_equal(beam_checkpoint_prune(out, 2, -1), BEAM_OK);
    assert_true(beam_folder_exists(scratch_path("prune/checkpoint-000002")));
    assert_newest(out, 4);
    assert_int_equal(scratch_count(out, ".tmp-"), 0);
    assert_int_equal(beam_checkpoint_prune(scratch_path("nowhere"), 2, -1), BEAM_OK);
}

static void describes(void **state)
{
    (void)state;
    char *json = NULL;
    assert_int_equal(write_step(scratch_path("show"), 12), BEAM_OK);
    assert_int_equal(beam_checkpoint_describe(scratch_path("show/checkpoint-000012"), &json), BEAM_OK);
    assert_non_null(strstr(json, "\"step\": 12,"));
    assert_non_null(strstr(json, "\"best_loss\": null"));
    assert_non_null(strstr(json, "\"param/model.layers.0.weight\""));
    assert_non_null(strstr(json, "\"model_hash\": \"fffffffffffffff3\""));
    assert_non_null(strstr(json, "\"state.h5\""));
    free(json);
    assert_int_equal(beam_checkpoint_describe(scratch_path("show"), &json), BEAM_EMODEL);
    assert_null(json);
}

static void refuses_other_manifests(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "{}", "[]", "{\"format\": \"beam checkpoint\"}",
        "{\"format\": \"beam checkpoint\", \"version\": 1, \"sha256\": \"00\"}"};
    beam_checkpoint_state s;
    assert_int_equal(write_step(scratch_path("manifest"), 1), BEAM_OK);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        scratch_text("manifest/checkpoint-000001/manifest.json", texts[i]);
        assert_int_equal(beam_checkpoint_read_state(scratch_path("manifest/checkpoint-000001"), &s),
                         BEAM_EMODEL);
        assert_true(message_has("manifest.json"));
    }
    beam_checkpoint_state bad = state_of(2);
    arrays_of_run run;
    beam_array a[ARRAYS];
    fill_run(&run, 2);
    view_run(&run, a);
    snprintf(bad.model, sizeof bad.model, "\xff");
    assert_int_equal(beam_checkpoint_write(scratch_path("manifest"), &bad, a, ARRAYS, config), BEAM_ECONFIG);
    assert_int_equal(scratch_count(scratch_path("manifest"), ""), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(replaces_the_same_step),
        cmocka_unit_test(keeps_the_best),
        cmocka_unit_test(reads_an_older_manifest),
        cmocka_unit_test(notices_every_flipped_bit),
        cmocka_unit_test(notices_missing_and_cut_files),
        cmocka_unit_test(refuses_other_arrays),
        cmocka_unit_test(refuses_what_is_not_finite),
        cmocka_unit_test(prunes),
        cmocka_unit_test(describes),
        cmocka_unit_test(refuses_other_manifests),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
