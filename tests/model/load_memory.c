/* Peak memory of loading: the parameters themselves and a few MB, whatever the size of a tensor.
 *
 *     model.load_memory            about 100 MB of bf16 per layout, a test
 *     model.load_memory large      about 3 GB: scripts/experiments/load_memory.sh
 *
 * Writing and loading are processes of their own, so that each has its own peak (getrusage's ru_maxrss). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/bf16.h"
#include "core/rng.h"
#include "data/file.h"
#include "data/safetensors.h"
#include "model/hf_map.h"
#include "model/load.h"

/* What loading may hold beside the parameters: 4 MB of rows under way, the lists of names (half a KB per
 * tensor), and what the allocator and the kernel round up to. */
static const double slack_mb = 12;

typedef struct {
    beam_model_config config;
    beam_hf_layout layout;
    char folder[64];
} job;

static _Noreturn void stop(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, beam_last_error());
    _exit(1);
}

static beam_model_config config_of(bool large)
{
    beam_model_config c = {.model_type = "qwen3_moe",
                           .vocab_size = large ? 50000 : 24000,
                           .hidden_size = large ? 1024 : 512,
                           .layers = large ? 15 : 2,
                           .max_positions = 64,
                           .heads = 4,
                           .kv_heads = 2,
                           .head_dim = 64,
                           .value_dim = 64,
                           .rotary_dim = 64,
                           .qk_norm = BEAM_QK_NORM_HEAD,
                           .score_scale = 0.125,
                           .rope = {.theta = 10000, .amplitude = 1},
                           .rms_norm_eps = 1e-6,
                           .eos_token_id = -1,
                           .moe_intermediate_size = large ? 512 : 256,
                           .experts = large ? 64 : 32,
                           .top_k = 4,
                           .routed_scale = 1,
                           .expert_groups = 1,
                           .kept_groups = 1};
    memset(c.moe_layer, 1, (size_t)c.layers);
    return c;
}

/* Element i of a tensor: a number that bf16 holds exactly. */
static float element(uint64_t name, int64_t i)
{
    return (float)(((uint64_t)i * 31 + (uint64_t)(i >> 16) + name % 1000) % 251) / 256;
}

static beam_status fill(void *context, int64_t item, void *bytes)
{
    const beam_weight_source *t = (const beam_weight_source *)context + item;
    const uint64_t name = beam_hash_string(t->name);
    const int64_t n = beam_count(beam_view(NULL, t->dtype, t->ndim, t->dim));
    uint16_t *half = bytes;
    for (int64_t i = 0; i < n; i++)
        half[i] = beam_f32_to_bf16(element(name, i));
    return BEAM_OK;
}

/* In a process of its own: writes the checkpoint. */
static void write_checkpoint(const job *j)
{
    beam_model_weights w;
    beam_hf_map map;
    int64_t n = 0;
    if (beam_model_weights_list(&w, &j->config, BEAM_SCOPE_NONE, BEAM_F32) ||
        beam_hf_map_build(&j->config, w.params, j->layout, &map))
        stop("cannot list tensors");
    beam_weight_source *tensors = calloc((size_t)map.n, sizeof *tensors);
    BEAM_ASSERT(tensors);
    for (int64_t i = 0; i < map.n; i++) {
        const beam_hf_tensor *t = &map.at[i];
        if (n > 0 && strcmp(tensors[n - 1].name, t->name) == 0)
            continue; /* another run of the same tensor */
        tensors[n] = (beam_weight_source){
            .dtype = BEAM_BF16, .ndim = t->ndim, .fill = fill, .context = tensors, .item = n};
        snprintf(tensors[n].name, sizeof tensors[n].name, "%s", t->name);
        memcpy(tensors[n++].dim, t->dim, sizeof t->dim);
    }
    if (beam_safetensors_write_folder(j->folder, tensors, n, UINT64_C(1) << 30))
        stop("cannot write");
    free(tensors);
    beam_hf_map_free(&map);
    beam_model_weights_unlist(&w);
}

static void check_run(beam_model *m, const beam_hf_tensor *t, float *rows)
{
    const uint64_t name = beam_hash_string(t->name);
    for (int64_t r = 0, n; r < t->rows; r += n) {
        n = beam_hf_chunk(t, r);
        if (beam_hf_get(beam_model_backend(m), t, beam_model_params(m).at[t->param].value, r, n, rows))
            stop("cannot read the model");
        for (int64_t i = 0; i < n * t->row; i++)
            if (rows[i] != element(name, t->first + r * t->row + i)) {
                fprintf(stderr, "%s: row %lld holds other numbers\n", t->name, (long long)r);
                _exit(1);
            }
    }
}

static void check_values(beam_model *m, const job *j)
{
    beam_hf_map map;
    if (beam_hf_map_build(&j->config, beam_model_params(m), j->layout, &map))
        stop("cannot list tensors");
    float *rows = malloc((size_t)beam_hf_longest_chunk(&map) * sizeof *rows);
    BEAM_ASSERT(rows);
    for (int64_t i = 0; i < map.n; i++)
        check_run(m, &map.at[i], rows);
    free(rows);
    beam_hf_map_free(&map);
}

static void use_model(const job *j, bool load)
{
    beam_backend be;
    beam_model *m;
    if (beam_backend_cpu(&be, 1) ||
        beam_model_open(&m, &j->config, &(beam_model_options){.max_tokens = 4}, &be))
        stop("cannot open");
    if (load) {
        if (beam_model_load(m, j->folder, false))
            stop("cannot load");
        check_values(m, j);
    }
    beam_model_close(m);
    beam_backend_close(&be);
}

static void open_model(const job *j)
{
    use_model(j, false);
}

static void load_model(const job *j)
{
    use_model(j, true);
}

/* Runs `work` in a process of its own and returns its peak memory in MB, or a NaN if it failed. */
static double peak_of(void (*work)(const job *), const job *j)
{
    struct rusage usage;
    int status = 1;
    const pid_t child = fork();
    BEAM_ASSERT(child >= 0);
    if (child == 0) {
        work(j);
        _exit(0);
    }
    BEAM_ASSERT(wait4(child, &status, 0, &usage) == child);
    return status != 0 ? NAN : (double)usage.ru_maxrss * 1024 / 1e6;
}

typedef struct {
    double all, largest; /* MB of all parameters as floats, and of the largest */
} sizes;

static sizes sizes_of(const beam_model_config *c)
{
    sizes s = {0};
    beam_model_weights w;
    if (beam_model_weights_list(&w, c, BEAM_SCOPE_NONE, BEAM_F32))
        stop("cannot list tensors");
    for (int i = 0; i < w.params.n; i++) {
        const double mb = (double)beam_bytes(w.params.at[i].value) / 1e6;
        s.all += mb;
        s.largest = mb > s.largest ? mb : s.largest;
    }
    beam_model_weights_unlist(&w);
    return s;
}

/* Returns whether loading stayed within its bound. */
static bool measure(bool large, beam_hf_layout layout)
{
    job j = {.config = config_of(large), .layout = layout};
    const char *base = getenv("TMPDIR");
    snprintf(j.folder, sizeof j.folder, "%.40s/beam-load-XXXXXX", base ? base : "/tmp");
    BEAM_ASSERT(mkdtemp(j.folder));
    const sizes s = sizes_of(&j.config);
    const double written = peak_of(write_checkpoint, &j), idle = peak_of(open_model, &j);
    const double loaded = isfinite(written) ? peak_of(load_model, &j) : NAN;
    const double extra = loaded - idle - s.all;
    printf("%s: parameters %.1f MB (largest %.1f), peak %.1f MB, of which %.1f before loading: "
           "loading held %.1f MB more\n",
           layout == BEAM_HF_FUSED ? "fused" : "published", s.all, s.largest, loaded, idle, extra);
    BEAM_ASSERT(beam_remove_folder(j.folder) == BEAM_OK);
    return extra <= slack_mb;
}

/* The sanitizer's own memory hides what is measured. */
#if defined(__SANITIZE_ADDRESS__) || defined(BEAM_TSAN)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

int main(int argc, char **argv)
{
    const bool large = argc > 1 && strcmp(argv[1], "large") == 0;
    if (SANITIZED)
        return 77;
    const bool published = measure(large, BEAM_HF_PUBLISHED), fused = measure(large, BEAM_HF_FUSED);
    return published && fused ? 0 : 1;
}
