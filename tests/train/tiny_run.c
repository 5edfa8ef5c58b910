#include "train/tiny_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "data/checkpoint.h"
#include "data/hdf5_image.h"
#include "data/tokens.h"

static const char model_json[] =
    "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", \"vocab_size\": 40,\n"
    " \"hidden_size\": 16, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"num_key_value_heads\": "
    "1,\n"
    " \"head_dim\": 8, \"intermediate_size\": 24, \"moe_intermediate_size\": 8, \"num_experts\": 6,\n"
    " \"num_experts_per_tok\": 3, \"norm_topk_prob\": true, \"tie_word_embeddings\": true,\n"
    " \"rms_norm_eps\": 1e-6, \"rope_theta\": 10000.0, \"initializer_range\": 0.2, \"hidden_act\": "
    "\"silu\"}\n";

/* Documents of 3 to 40 tokens in which the next token mostly follows from the last one. */
static void write_tokens(const char *path)
{
    enum { DOCUMENTS = 120, MOST = DOCUMENTS * 40 };
    static int32_t id[MOST];
    static uint8_t loss[MOST];
    static int64_t start[DOCUMENTS + 1];
    beam_tokens t = {
        .documents = DOCUMENTS, .vocab = 40, .id = id, .loss = loss, .start = start, .tokenizer = "none"};
    for (int d = 0; d < DOCUMENTS; d++) {
        const int64_t n = 3 + (int64_t)(beam_random_bits(1, 7, (uint64_t)d) % 38);
        start[d] = t.tokens;
        for (int64_t i = 0; i < n; i++, t.tokens++) {
            const uint64_t r = beam_random_bits(2, (uint64_t)d, (uint64_t)i);
            id[t.tokens] = i && r % 4 ? (id[t.tokens - 1] * 7 + 3) % 40 : (int32_t)(r / 4 % 40);
            loss[t.tokens] = i > 0;
        }
    }
    start[DOCUMENTS] = t.tokens;
    if (beam_tokens_write(path, &t) != BEAM_OK)
        fail_msg("%s", beam_last_error());
}

int tiny_run_open(void **state)
{
    if (scratch_open(state) != 0)
        return -1;
    scratch_text("config.json", model_json);
    write_tokens(scratch_path("tokens.h5"));
    return 0;
}

beam_config tiny_run_config(const char *name, const char *const overrides[])
{
    char text[4096];
    const int size = snprintf(
        text, sizeof text,
        "model_name_or_path: random:%s\ndataset: %s\neval_dataset: %s\noutput_dir: %s\ncutoff_len: 32\n"
        "per_device_train_batch_size: 2\ngradient_accumulation_steps: 2\nmax_steps: 8\nlogging_steps: 0\n"
        "save_steps: 0\neval_steps: 4\neval_rows: 8\nlearning_rate: 0.01\nwarmup_steps: 2\nthreads: 1\n"
        "mask:\n  penalty_warmup_steps: 3\n",
        scratch_path("config.json"), scratch_path("tokens.h5"), scratch_path("tokens.h5"),
        scratch_path(name));
    assert_in_range(size, 1, sizeof text - 1);
    int n = 0;
    while (overrides && overrides[n])
        n++;
    char file[80];
    snprintf(file, sizeof file, "%s.yaml", name);
    beam_config c;
    if (beam_config_load(scratch_text(file, text), overrides, n, &c, NULL) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    return c;
}

beam_status tiny_run(const beam_config *c, int64_t stop_after)
{
    beam_comm alone;
    beam_status status = beam_comm_open(&alone);
    if (!status)
        status = beam_train(c, NULL, stop_after, &alone);
    beam_comm_close(&alone);
    return status;
}

void tiny_run_expect(const beam_config *c, int64_t stop_after, beam_status expected)
{
    const beam_status status = tiny_run(c, stop_after);
    if (status != expected)
        fail_msg("%s: status %d instead of %d: %s", c->output_dir, status, expected, beam_last_error());
}

typedef struct {
    char path[BEAM_PATH_MAX + 64];
    beam_checkpoint_state state;
    char *image;
    beam_h5 *h5;
} opened;

static void open_newest(const beam_config *c, opened *o)
{
    bool found;
    size_t size;
    char file[sizeof o->path + 16];
    assert_int_equal(beam_checkpoint_newest(c->output_dir, o->path, sizeof o->path, &found), BEAM_OK);
    assert_true(found);
    assert_int_equal(beam_checkpoint_read_state(o->path, &o->state), BEAM_OK);
    snprintf(file, sizeof file, "%s/state.h5", o->path);
    o->image = scratch_read(file, &size);
    assert_int_equal(beam_h5_open(o->image, size, file, BEAM_EMODEL, &o->h5), BEAM_OK);
}

static void close_opened(opened *o)
{
    beam_h5_close(o->h5);
    free(o->image);
}

static void same_arrays(opened *a, opened *b)
{
    assert_int_equal(beam_h5_count(a->h5), beam_h5_count(b->h5));
    for (int i = 0; i < beam_h5_count(a->h5); i++) {
        const char *name;
        beam_tensor x, y;
        beam_h5_at(a->h5, i, &name, &x);
        y = x;
        x.data = malloc(beam_bytes(x) + 1);
        y.data = malloc(beam_bytes(y) + 1);
        assert_int_equal(beam_h5_get(a->h5, name, x), BEAM_OK);
        assert_int_equal(beam_h5_get(b->h5, name, y), BEAM_OK);
        if (memcmp(x.data, y.data, beam_bytes(x)) != 0)
            fail_msg("%s differs", name);
        free(x.data);
        free(y.data);
    }
}

/* Reads metrics.jsonl and cuts the times out of every line. */
static char *metrics_without_times(const beam_config *c)
{
    char path[BEAM_PATH_MAX + 32];
    size_t size;
    snprintf(path, sizeof path, "%s/metrics.jsonl", c->output_dir);
    char *text = scratch_read(path, &size);
    char *times;
    while ((times = strstr(text, ",\"tokens_per_s\"")) != NULL) {
        const char *after = strstr(times, ",\"tokens\"");
        assert_non_null(after);
        memmove(times, after, strlen(after) + 1);
    }
    return text;
}

void tiny_run_same(const beam_config *a, const beam_config *b)
{
    opened x, y;
    open_newest(a, &x);
    open_newest(b, &y);
    assert_int_equal(x.state.step, y.state.step);
    assert_int_equal(x.state.rows, y.state.rows);
    assert_int_equal(x.state.tokens, y.state.tokens);
    assert_memory_equal(&x.state.penalty, &y.state.penalty, sizeof(double));
    assert_memory_equal(&x.state.average_active, &y.state.average_active, sizeof(double));
    assert_memory_equal(&x.state.best_loss, &y.state.best_loss, sizeof(double));
    same_arrays(&x, &y);
    close_opened(&x);
    close_opened(&y);
    char *lines_a = metrics_without_times(a), *lines_b = metrics_without_times(b);
    assert_string_equal(lines_a, lines_b);
    free(lines_a);
    free(lines_b);
}

double tiny_run_metric(const beam_config *c, const char *key)
{
    char path[BEAM_PATH_MAX + 32], quoted[64];
    size_t size;
    double value = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", c->output_dir);
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    char *text = scratch_read(path, &size), *at = text, *last = NULL;
    while ((at = strstr(at, quoted)) != NULL) {
        last = at;
        at++;
    }
    if (!last || sscanf(last + strlen(quoted), "%lf", &value) != 1)
        fail_msg("%s has no %s", path, key);
    free(text);
    return value;
}
