/* beam inspect, of model folders and their parts. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/inspect.h"
#include "cli/printer.h"
#include "cli/quantity.h"
#include "data/file.h"
#include "data/safetensors.h"
#include "data/sums.h"
#include "model/count.h"
#include "model/families/families.h"

enum { DTYPES = BEAM_U8 + 1 };

/* What config.json alone says. */
typedef struct {
    beam_model_config config;
    beam_parameter_count count;
} shape;

typedef struct {
    int64_t tensors, numbers, gates; /* gates: tensors of mask gates */
    uint64_t bytes;
    int files;
    int64_t of_dtype[DTYPES];
} summary;

static summary summarise(const beam_weights *w)
{
    summary s = {.tensors = beam_weights_count(w)};
    for (int64_t i = 0; i < s.tensors; i++) {
        const beam_weight *t = beam_weights_at(w, i);
        s.bytes += t->bytes;
        s.numbers += (int64_t)(t->bytes / beam_dtype_size(t->dtype));
        s.gates += strstr(t->name, ".mask_gate.") != NULL;
        s.of_dtype[t->dtype]++;
        s.files = t->file + 1 > s.files ? t->file + 1 : s.files;
    }
    return s;
}

/* The first number that is not finite is a reason to refuse the file. */
static beam_status check_finite_tensor(const beam_weights *w, const beam_weight *t)
{
    enum { PIECE = 1 << 14 };
    float x[PIECE];
    const int64_t all = (int64_t)(t->bytes / beam_dtype_size(t->dtype));
    for (int64_t first = 0, n; first < all; first += n) {
        n = all - first < PIECE ? all - first : PIECE;
        BEAM_TRY(beam_weights_read_f32_at(w, t, first, n, x));
        for (int64_t i = 0; i < n; i++)
            if (!isfinite(x[i]))
                return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s: element %" PRId64 " is %g",
                                 beam_weights_file(w, t), t->name, first + i, (double)x[i]);
    }
    return BEAM_OK;
}

static beam_status check_finite(const beam_weights *w)
{
    for (int64_t i = 0; i < beam_weights_count(w); i++) {
        const beam_weight *t = beam_weights_at(w, i);
        if (t->dtype != BEAM_I32 && t->dtype != BEAM_I64 && t->dtype != BEAM_U8)
            BEAM_TRY(check_finite_tensor(w, t));
    }
    return BEAM_OK;
}

static int64_t windowed_layers(const beam_model_config *c)
{
    int64_t n = 0;
    for (int64_t i = 0; i < c->layers; i++)
        n += c->windowed[i];
    return n;
}

static const char *rope_name(const beam_model_config *c)
{
    return c->rope.kind == BEAM_ROPE_YARN ? "yarn" : c->rope.kind == BEAM_ROPE_LINEAR ? "linear" : "default";
}

static void print_attention(const beam_model_config *c)
{
    printf("attention     %" PRId64 " heads of %" PRId64, c->heads, c->head_dim);
    if (c->kv_rank)
        printf(" (values %" PRId64 "), keys and values from a latent of %" PRId64, c->value_dim, c->kv_rank);
    else
        printf(", %" PRId64 " key/value heads", c->kv_heads);
    if (c->query_rank)
        printf(", queries from one of %" PRId64, c->query_rank);
    printf("%s\n", c->qkv_bias ? ", biases" : "");
    if (c->window)
        printf("window        %" PRId64 " tokens in %" PRId64 " layers\n", c->window, windowed_layers(c));
    if (c->rope.kind != BEAM_ROPE_PLAIN)
        printf("rotation      %s, factor %g\n", rope_name(c), c->rope.factor);
}

static void print_experts(const beam_model_config *c)
{
    printf("experts       %" PRId64 " of width %" PRId64 ", %" PRId64 " candidates per token%s", c->experts,
           c->moe_intermediate_size, c->top_k, c->norm_topk_prob ? ", weights normalised" : "");
    if (c->expert_groups != c->kept_groups)
        printf(", from %" PRId64 " of %" PRId64 " groups", c->kept_groups, c->expert_groups);
    putchar('\n');
    if (c->shared_size)
        printf("shared        one expert of width %" PRId64 "%s\n", c->shared_size,
               c->shared_gate ? ", gated" : "");
}

static void print_shape(const shape *s)
{
    const beam_model_config *c = &s->config;
    beam_quantity q;
    printf("layers        %" PRId64 ", of which %" PRId64 " are mixtures of experts; hidden size %" PRId64
           "\n",
           c->layers, beam_moe_layers(c), c->hidden_size);
    print_attention(c);
    print_experts(c);
    printf("vocabulary    %" PRId64 "%s, %" PRId64 " positions\n", c->vocab_size,
           c->tie_word_embeddings ? " (tied embeddings)" : "", c->max_positions);
    printf("parameters    %s\n", beam_quantity_parameters(&q, s->count.total, s->count.active));
    if (c->mask.present)
        printf("expert masks  threshold %g%s%s%s; %s parameters\n", c->mask.threshold,
               c->mask.bias ? ", bias" : "", c->mask.router_features ? ", router features" : "",
               c->mask.give_back ? ", give-back" : "", beam_quantity_digits(&q, s->count.gates));
    else
        printf("expert masks  none\n");
}

static void print_summary(const summary *s, bool verified)
{
    printf("numbers       %" PRId64 " in %" PRId64 " tensors", s->numbers, s->tensors);
    if (s->gates)
        printf(" (%" PRId64 " of mask gates)", s->gates);
    printf(", %.3f MB in %d file%s\n", 1e-6 * (double)s->bytes, s->files, s->files == 1 ? "" : "s");
    printf("dtypes       ");
    for (int i = 0; i < DTYPES; i++)
        if (s->of_dtype[i])
            printf(" %s: %" PRId64, beam_dtype_name((beam_dtype)i), s->of_dtype[i]);
    printf("\n%s", verified ? "verified      every number is finite\n" : "");
}

static void print_tensors(const beam_weights *w)
{
    for (int64_t i = 0; i < beam_weights_count(w); i++) {
        const beam_weight *t = beam_weights_at(w, i);
        printf("  %-4s [", beam_dtype_name(t->dtype));
        for (int d = 0; d < t->ndim; d++)
            printf("%s%" PRId64, d ? "," : "", t->dim[d]);
        printf("] %s\n", t->name);
    }
}

static void put_shape(beam_printer *p, const shape *s)
{
    const beam_model_config *c = &s->config;
    beam_print_text(p, "model_type", c->model_type);
    beam_print_i64(p, "layers", c->layers);
    beam_print_i64(p, "moe_layers", beam_moe_layers(c));
    beam_print_i64(p, "hidden_size", c->hidden_size);
    beam_print_i64(p, "heads", c->heads);
    beam_print_i64(p, "kv_heads", c->kv_heads);
    beam_print_i64(p, "head_dim", c->head_dim);
    beam_print_i64(p, "kv_rank", c->kv_rank);
    beam_print_i64(p, "query_rank", c->query_rank);
    beam_print_i64(p, "window", c->window);
    beam_print_i64(p, "windowed_layers", windowed_layers(c));
    beam_print_text(p, "rope", rope_name(c));
    beam_print_i64(p, "experts", c->experts);
    beam_print_i64(p, "top_k", c->top_k);
    beam_print_i64(p, "expert_groups", c->expert_groups);
    beam_print_i64(p, "kept_groups", c->kept_groups);
    beam_print_i64(p, "moe_intermediate_size", c->moe_intermediate_size);
    beam_print_i64(p, "shared_size", c->shared_size);
    beam_print_i64(p, "vocab_size", c->vocab_size);
    beam_print_i64(p, "max_positions", c->max_positions);
    beam_print_i64(p, "parameters", s->count.total);
    beam_print_i64(p, "active_parameters", s->count.active);
    beam_print_i64(p, "gate_parameters", s->count.gates);
    beam_print_bool(p, "masks", c->mask.present);
    if (c->mask.present) {
        beam_print_f64(p, "threshold", c->mask.threshold);
        beam_print_bool(p, "mask_bias", c->mask.bias);
        beam_print_bool(p, "router_features", c->mask.router_features);
        beam_print_bool(p, "give_back", c->mask.give_back);
    }
}

static void put_tensors(beam_printer *p, const beam_weights *w)
{
    beam_print_key(p, "list");
    putchar('[');
    for (int64_t i = 0; i < beam_weights_count(w); i++) {
        const beam_weight *t = beam_weights_at(w, i);
        double dim[BEAM_MAX_DIM];
        for (int d = 0; d < t->ndim; d++)
            dim[d] = (double)t->dim[d];
        if (i > 0)
            putchar(',');
        beam_printer entry = beam_print_open(stdout);
        beam_print_text(&entry, "name", t->name);
        beam_print_text(&entry, "dtype", beam_dtype_name(t->dtype));
        beam_print_list(&entry, "shape", dim, t->ndim);
        beam_print_close(&entry);
    }
    putchar(']');
}

static void put_weights(beam_printer *p, const beam_weights *w, const beam_inspect_options *o)
{
    const summary s = summarise(w);
    beam_print_i64(p, "numbers", s.numbers);
    beam_print_i64(p, "tensors", s.tensors);
    beam_print_i64(p, "mask_gate_tensors", s.gates);
    beam_print_i64(p, "bytes", (int64_t)s.bytes);
    beam_print_i64(p, "files", s.files);
    beam_print_key(p, "dtypes");
    beam_printer dtypes = beam_print_open(stdout);
    for (int i = 0; i < DTYPES; i++)
        if (s.of_dtype[i])
            beam_print_i64(&dtypes, beam_dtype_name((beam_dtype)i), s.of_dtype[i]);
    beam_print_close(&dtypes);
    beam_print_bool(p, "verified", o->verify);
    if (o->tensors)
        put_tensors(p, w);
}

/* The shape or the weights may be NULL. */
static void print_all(const char *kind, const char *path, const shape *s, const beam_weights *w,
                      const beam_inspect_options *o)
{
    if (o->json) {
        beam_printer p = beam_print_open(stdout);
        beam_print_text(&p, "kind", kind);
        beam_print_text(&p, "path", path);
        if (s)
            put_shape(&p, s);
        beam_print_bool(&p, "weights", w);
        if (w)
            put_weights(&p, w, o);
        beam_print_end(&p);
        return;
    }
    printf("%-13s %s%s%s\n", kind, path, s ? ": " : "", s ? s->config.model_type : "");
    if (s)
        print_shape(s);
    if (w) {
        const summary found = summarise(w);
        print_summary(&found, o->verify);
        if (o->tensors)
            print_tensors(w);
    }
}

static beam_status inspect(const char *kind, const char *path, const shape *s, const char *weights,
                           const beam_inspect_options *o)
{
    beam_weights *w;
    BEAM_TRY(beam_weights_open(weights, &w));
    const beam_status status = o->verify ? check_finite(w) : BEAM_OK;
    if (!status)
        print_all(kind, path, s, w, o);
    beam_weights_close(w);
    return status;
}

static beam_status read_shape(const char *path, shape *out)
{
    BEAM_TRY(beam_model_config_read(path, &out->config));
    BEAM_TRY(beam_model_count(&out->count, &out->config));
    return BEAM_OK;
}

static bool holds(const char *folder, const char *name)
{
    char path[1200];
    return beam_join_path(path, sizeof path, folder, name) == BEAM_OK && beam_file_exists(path);
}

/* The same of a folder, whose files --verify compares with its SHA256SUMS if it has them. */
static beam_status inspect_folder(const char *kind, const char *folder, const shape *s, const char *weights,
                                  const beam_inspect_options *o)
{
    bool found = false;
    BEAM_TRY(inspect(kind, folder, s, weights, o));
    if (o->verify)
        BEAM_TRY(beam_sums_verify(folder, &found));
    if (found && !o->json)
        printf("checksums     every file is as SHA256SUMS says\n");
    return BEAM_OK;
}

/* A folder with the masks alone holds no model.safetensors; one that was not downloaded whole, none at all.
 */
beam_status beam_inspect_model(const char *folder, const beam_inspect_options *o)
{
    char config[1200], masks[1200];
    shape s;
    BEAM_TRY(beam_join_path(config, sizeof config, folder, "config.json"));
    BEAM_TRY(beam_join_path(masks, sizeof masks, folder, "expert_mask.safetensors"));
    BEAM_TRY(read_shape(config, &s));
    if (holds(folder, "model.safetensors") || holds(folder, "model.safetensors.index.json"))
        return inspect_folder("model", folder, &s, folder, o);
    if (beam_file_exists(masks))
        return inspect_folder("masks alone", folder, &s, masks, o);
    if (o->verify || o->tensors)
        return BEAM_FAIL(BEAM_EMODEL, "%s: holds no weights to look at, only config.json", folder);
    print_all("model", folder, &s, NULL, o);
    if (!o->json)
        printf("weights       none here: neither model.safetensors nor model.safetensors.index.json\n");
    return BEAM_OK;
}

beam_status beam_inspect_config(const char *path, const beam_inspect_options *o)
{
    shape s;
    BEAM_TRY(read_shape(path, &s));
    print_all("config", path, &s, NULL, o);
    return BEAM_OK;
}

beam_status beam_inspect_weights(const char *path, const beam_inspect_options *o)
{
    return inspect("safetensors", path, NULL, path, o);
}
