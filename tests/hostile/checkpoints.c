/* Checkpoints of a real run, changed by someone who can make every hash right again. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/hdf5_attacks.h"
#include "data/scratch.h"
#include "data/tokens.h"
#include "hostile/refused.h"

enum { MODEL = 4 };

#define CHECKPOINT "run/checkpoint-000001"

static char *manifest, *state_h5; /* as the run wrote them */
static size_t state_size;

/* One step of training the masks of the model. */
static void train(void)
{
    int32_t id[64];
    uint8_t loss[64];
    int64_t start[2] = {0, 64};
    for (int i = 0; i < 64; i++) {
        id[i] = i % 36;
        loss[i] = 1;
    }
    const beam_tokens t = {.tokens = 64,
                           .documents = 1,
                           .vocab = 36,
                           .id = id,
                           .loss = loss,
                           .start = start,
                           .tokenizer = "none"};
    assert_int_equal(beam_tokens_write(scratch_path("tokens.h5"), &t), BEAM_OK);
    char text[4096];
    snprintf(text, sizeof text,
             "model_name_or_path: %s\ndataset: %s\noutput_dir: %s\ncutoff_len: 32\nmax_steps: 1\n"
             "per_device_train_batch_size: 1\ngradient_accumulation_steps: 1\n",
             HOSTILE_MODEL, scratch_path("tokens.h5"), scratch_path("run"));
    expect_exit(0, "olmoe", "step 1/1", "train", scratch_text("run.yaml", text), NULL);
}

static int set_up(void **state)
{
    size_t size;
    if (scratch_open(state) != 0)
        return -1;
    hdf5_attacks_prepare();
    train();
    manifest = scratch_read(scratch_path(CHECKPOINT "/manifest.json"), &size);
    state_h5 = scratch_read(scratch_path(CHECKPOINT "/state.h5"), &state_size);
    return 0;
}

static int tear_down(void **state)
{
    free(manifest);
    free(state_h5);
    return scratch_close(state);
}

static void restore(void)
{
    scratch_text(CHECKPOINT "/manifest.json", manifest);
    unlink(scratch_path(CHECKPOINT "/state.h5"));
    scratch_write(CHECKPOINT "/state.h5", state_h5, state_size);
}

/* Writes a manifest whose own hash is right. */
static void write_signed(json_t *root)
{
    char hex[BEAM_SHA256_HEX];
    json_object_del(root, "sha256");
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    assert_non_null(text);
    beam_sha256(text, strlen(text), hex);
    free(text);
    json_object_set_new(root, "sha256", json_string(hex));
    text = json_dumps(root, 0);
    scratch_text(CHECKPOINT "/manifest.json", text);
    free(text);
    json_decref(root);
}

/* The run's manifest with one value, given as JSON, changed. path: "state.step". */
static json_t *changed(const char *path, const char *value)
{
    char key[64];
    json_t *root = json_loads(manifest, 0, NULL), *at = root;
    const char *dot;
    while ((dot = strchr(path, '/'))) {
        snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
        at = json_object_get(at, key);
        path = dot + 1;
    }
    assert_int_equal(json_object_set_new(at, path, json_loads(value, JSON_DECODE_ANY, NULL)), 0);
    return root;
}

static void inspect(int code, const char *name, const char *message)
{
    expect_exit(code, name, message, "inspect", scratch_path(CHECKPOINT), NULL);
}

static void manifests(void **state)
{
    (void)state;
    static const struct {
        const char *head, *part;
        size_t times;
        const char *tail, *message;
        int code;
    } cases[] = {
        {"", "", 0, "", "not valid JSON", MODEL},
        {"[]", "", 0, "", "a JSON object", MODEL},
        {"{", "", 0, "}", "not the manifest of a beam checkpoint", MODEL},
        {"{\"format\":\"beam checkpoint\"", "", 0, "}", "does not match its own SHA-256", MODEL},
        {"{\"a\":", "[", 100000, "", "nested too deep", MODEL},
        {"{\"a\":[", "{},", 300000, "{}]}", "too many values", MODEL},
        {"{\"format\":\"", "x", 1000000, "\"}", "a text of at most", MODEL},
        {"{\"a\":\"", "x", 2000000, "\"}", "are accepted here", 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = repeat(cases[i].head, cases[i].part, cases[i].times, cases[i].tail);
        scratch_text(CHECKPOINT "/manifest.json", text);
        free(text);
        inspect(cases[i].code, "manifest.json", cases[i].message);
    }
    restore();
}

static void signed_manifests(void **state)
{
    (void)state;
    static const struct {
        const char *path, *value, *name, *message;
    } cases[] = {
        {"version", "2", "manifest.json", "\"version\" is 2"},
        {"version", "\"1\"", "manifest.json", "\"version\""},
        {"state/step", "-1", "manifest.json", "\"state.step\" is -1"},
        {"state/step", "1e3", "manifest.json", "\"state.step\""},
        {"state/penalty", "\"xyz\"", "manifest.json", "not 16 hexadecimal digits"},
        {"state/penalty", "\"00000000000000000\"", "manifest.json", "state.penalty"},
        {"state/model", "null", "manifest.json", "\"state.model\" is missing"},
        {"state", "[]", "manifest.json", "\"state\" is []"},
        {"files", "{}", "manifest.json", "files.state.h5"},
        {"files/state.h5", "null", "manifest.json", "state.h5"},
        {"files/state.h5/size", "-1", "manifest.json", "files.state.h5.size"},
        {"files/state.h5/size", "9223372036854775807", "state.h5", "its size is not the one"},
        {"files/state.h5/size", "0", "state.h5", "its size is not the one"},
        {"files/state.h5/sha256", "\"\"", "state.h5", "its SHA-256 is not the one"},
        {"files/state.h5/sha256", "\"\\u001b[2J\"", "state.h5", "its SHA-256 is not the one"},
        {"files/config.yaml/sha256", "\"0\"", "config.yaml", "its SHA-256 is not the one"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_signed(changed(cases[i].path, cases[i].value));
        inspect(MODEL, cases[i].name, cases[i].message);
    }
    char *text = repeat("\"", "x", 512, "\"");
    write_signed(changed("state/model", text));
    free(text);
    inspect(MODEL, "manifest.json", "state.model");
    /* Names of files are ours, whatever the manifest says: others are not looked at. */
    json_t *root = changed("files/other", "null");
    json_object_set_new(json_object_get(root, "files"), "../../../etc/passwd", json_object());
    write_signed(root);
    inspect(0, "checkpoint-000001", "every hash verified");
    restore();
}

/* Puts a file in the place of state.h5 and signs for it. */
static void replace_state(const void *bytes, size_t size)
{
    char hex[BEAM_SHA256_HEX], text[BEAM_SHA256_HEX + 2], number[32];
    beam_sha256(bytes, size, hex);
    snprintf(text, sizeof text, "\"%s\"", hex);
    snprintf(number, sizeof number, "%zu", size);
    scratch_write(CHECKPOINT "/state.h5", bytes, size);
    json_t *root = changed("files/state.h5/sha256", text);
    json_object_set_new(json_object_get(json_object_get(root, "files"), "state.h5"), "size",
                        json_integer((json_int_t)size));
    write_signed(root);
}

/* Images that are refused when they are opened; inspecting a checkpoint reads no array. */
static void images(void **state)
{
    (void)state;
    for (const hdf5_attack *a = hdf5_attacks; a->name; a++) {
        size_t size;
        unsigned char *bytes = hdf5_attack_make(a->fill, &size);
        replace_state(bytes, size);
        free(bytes);
        if (a->message && strcmp(a->message, "data is damaged") != 0)
            inspect(MODEL, "state.h5", a->message);
        expect_exit(MODEL, "state.h5", "", "export", "--run", scratch_path("run"), "--out",
                    scratch_path("out"), NULL);
    }
    replace_state("not HDF5", 8);
    inspect(MODEL, "state.h5", "its checksum is wrong");
    assert_false(beam_folder_exists(scratch_path("out")));
    restore();
}

static void files(void **state)
{
    (void)state;
    const char *h5 = scratch_path(CHECKPOINT "/state.h5"), *away = scratch_path("away.h5");
    for (size_t i = 0; i < 8; i++) {
        state_h5[i * state_size / 8] ^= 4;
        scratch_write(CHECKPOINT "/state.h5", state_h5, state_size);
        state_h5[i * state_size / 8] ^= 4;
        inspect(MODEL, "state.h5", "its SHA-256 is not the one");
    }
    assert_int_equal(truncate(h5, (off_t)state_size / 2), 0);
    inspect(MODEL, "state.h5", "its size is not the one");
    assert_int_equal(unlink(h5), 0);
    inspect(MODEL, "state.h5", "is missing");
    scratch_write("away.h5", state_h5, state_size);
    assert_int_equal(symlink(away, h5), 0);
    inspect(MODEL, "state.h5", "its size is not the one");
    assert_int_equal(unlink(h5), 0);
    assert_int_equal(mkfifo(h5, 0600), 0);
    inspect(MODEL, "state.h5", "its size is not the one");
    expect_exit(MODEL, "run", "checkpoint", "eval", "--run", scratch_path("run"), "--data",
                scratch_path("tokens.h5"), NULL);
    restore();
    expect_exit(0, "checkpoint-000001", "every hash verified", "inspect", scratch_path(CHECKPOINT), NULL);
}

static void exports(void **state)
{
    (void)state;
    const char *run = scratch_path("run"), *full = scratch_path("full"), *masks = scratch_path("masks");
    const char *data = scratch_path("tokens.h5"), *file = scratch_text("file", "mine");
    char *text;
    size_t size;
    expect_exit(0, "full", "the model", "export", "--run", run, "--out", full, NULL);
    expect_exit(0, "masks", "", "export", "--run", run, "--out", masks, "--adapter-only", NULL);
    expect_exit(5, "full", "is not empty", "export", "--run", run, "--out", full, NULL);
    expect_exit(5, "olmoe", "is not empty", "export", "--run", run, "--out", HOSTILE_MODEL, NULL);
    expect_exit(5, "file", "cannot look into it", "export", "--run", run, "--out", file, NULL);
    expect_exit(MODEL, "masks", "holds neither", "eval", "--model", masks, "--data", data, NULL);
    assert_int_equal(truncate(scratch_path("masks/expert_mask.safetensors"), 100), 0);
    expect_exit(MODEL, "expert_mask.safetensors", "its header claims", "inspect", masks, NULL);
    text = scratch_read(HOSTILE_MODEL "/config.json", &size); /* the masks without the block that says how */
    scratch_write("full/config.json", text, size);
    free(text);
    expect_exit(MODEL, "full", "mask_gate", "eval", "--model", full, "--data", data, NULL);
    text = scratch_read(scratch_path("masks/config.json"), &size); /* the block, on a base without masks */
    scratch_write("full/config.json", text, size);
    free(text);
    text = scratch_read(HOSTILE_MODEL "/model.safetensors", &size);
    scratch_write("full/model.safetensors", text, size);
    free(text);
    expect_exit(MODEL, "mask_gate", "is missing", "eval", "--model", full, "--data", data, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manifests), cmocka_unit_test(signed_manifests), cmocka_unit_test(images),
        cmocka_unit_test(files),     cmocka_unit_test(exports),
    };
    const int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    print_worst();
    return failed;
}
