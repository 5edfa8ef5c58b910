/* beam bench: timings with the hardware bound beside each. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/bench.h"
#include "cli/opened.h"
#include "cli/verbs.h"
#include "train/bench.h"
#include "train/source.h"

/* A layer of a real model's width, small enough for any machine: D 512, 32 experts of width 256, 8 per token.
 */
static beam_model_config built_in_shape(void)
{
    beam_model_config c = {
        .model_type = "qwen3_moe",
        .vocab_size = 4096,
        .hidden_size = 512,
        .layers = 2,
        .heads = 8,
        .kv_heads = 4,
        .head_dim = 64,
        .intermediate_size = 1024,
        .moe_intermediate_size = 256,
        .experts = 32,
        .top_k = 8,
        .max_positions = 4096,
        .norm_topk_prob = true,
        .tie_word_embeddings = true,
        .rms_norm_eps = 1e-6,
        .qk_norm = BEAM_QK_NORM_HEAD,
        .rope = {.theta = 1e6},
        .initializer_range = 0.02,
        .eos_token_id = -1,
    };
    c.moe_layer[0] = c.moe_layer[1] = 1;
    beam_model_config_complete(&c);
    return c;
}

beam_status beam_bench_shape(const char *model, beam_model_config *out)
{
    *out = built_in_shape();
    if (model)
        BEAM_TRY(beam_model_source_config(model, &(beam_gate_request){0}, out));
    if (beam_moe_layers(out) == 0)
        return BEAM_FAIL(BEAM_EMODEL, "%s: no layer is a mixture of experts", model);
    out->mask = (beam_mask_config){.present = true, .threshold = 0.5, .bias = true, .router_features = true};
    return BEAM_OK;
}

static void print_row(bool json, bool first, const beam_bench_options *o, const beam_bench_result *r,
                      double peak)
{
    const char *scope = o->scope == BEAM_SCOPE_ALL ? "all" : "masks";
    if (json)
        printf("%s{\"trainable\":\"%s\",\"active\":%d,\"tokens_per_s\":%.6g,\"forward_s\":%.6g,\"backward_"
               "s\":%.6g,"
               "\"update_s\":%.6g,\"gflops\":%.6g,\"share_of_gemm_peak\":%.4g}",
               first ? "" : ",", scope, o->active, r->tokens_per_s, r->forward, r->backward, r->update,
               1e-9 * r->flops_per_s, r->flops_per_s / peak);
    else
        printf("%-9s  %5.1f  %9.0f  %9.1f  %9.1f  %9.1f  %8.1f  %6.1f %%\n", scope, (double)o->active,
               r->tokens_per_s, 1e3 * r->forward, 1e3 * r->backward, 1e3 * r->update, 1e-9 * r->flops_per_s,
               100 * r->flops_per_s / peak);
    fflush(stdout);
}

/* What is timed, for K, K/2 and K/8 candidates. */
typedef beam_status (*timing)(const beam_bench_options *, beam_backend *, beam_bench_result *);

static void print_header(bool json, timing time, const beam_bench_options *o, const beam_backend *be,
                         double peak)
{
    const beam_model_config *c = o->config;
    if (json) {
        printf("{\"what\":\"%s\",\"backend\":\"%s\",\"real\":\"%s\",\"gemm_gflops\":%.6g,\"threads\":%d,"
               "\"tokens\":%lld,\"sequence\":%lld,\"rows\":[",
               time == beam_bench_layer ? "layer" : "model", be->ops->name, beam_dtype_name(be->real),
               1e-9 * peak, be->threads, (long long)o->rows * o->sequence, (long long)o->sequence);
        return;
    }
    printf("%s, %s, %d threads, matrix products reach %.1f GFLOP/s here\n", be->ops->name,
           beam_dtype_name(be->real), be->threads, 1e-9 * peak);
    if (time == beam_bench_layer)
        printf("one mixture layer");
    else
        printf("model: %lld layers, vocabulary %lld", (long long)c->layers, (long long)c->vocab_size);
    printf("; D %lld, %lld experts of width %lld, K %lld; %lld rows of %lld tokens\n\n",
           (long long)c->hidden_size, (long long)c->experts, (long long)c->moe_intermediate_size,
           (long long)c->top_k, (long long)o->rows, (long long)o->sequence);
    printf("trainable  Avg-K   tokens/s  forward/ms backward/ms update/ms   GFLOP/s  of peak\n");
}

static beam_status bench(timing time, beam_bench_options *o, beam_backend *be, bool json)
{
    double peak;
    BEAM_TRY(beam_bench_gemm(be, &peak));
    print_header(json, time, o, be, peak);
    static const beam_scope scopes[] = {BEAM_SCOPE_MASKS, BEAM_SCOPE_ALL};
    const int k = (int)o->config->top_k, kept[] = {k, k / 2, k / 8};
    bool first = true;
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < 3; i++) {
            beam_bench_result r;
            o->scope = scopes[s];
            o->active = kept[i] > 0 ? kept[i] : 1;
            if (i > 0 && o->active == (kept[i - 1] > 0 ? kept[i - 1] : 1))
                continue;
            BEAM_TRY(time(o, be, &r));
            print_row(json, first, o, &r, peak);
            first = false;
        }
    if (json)
        puts("]}");
    return BEAM_OK;
}

beam_status beam_verb_bench(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "comm") == 0)
        return beam_bench_ranks(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "decode") == 0)
        return beam_bench_decode(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "batch") == 0)
        return beam_bench_batch(argc - 1, argv + 1);
    bool json = false, checkpointing = false, layer = false;
    const char *model = NULL;
    beam_backend_choice backend = {0};
    int64_t rows = 8, sequence = 512, steps = 5, threads = 0;
    const beam_option options[] = {
        {"model", BEAM_TEXT, &model, "DIR", "shape to time: a model folder or random:<config.json>"},
        {"rows", BEAM_INT, &rows, "N", "rows of a micro-batch (default: 8)"},
        {"sequence", BEAM_INT, &sequence, "N", "tokens of a row (default: 512)"},
        {"steps", BEAM_INT, &steps, "N", "timed steps, at most 64; the median counts (default: 5)"},
        {"threads", BEAM_INT, &threads, "N", "default: all cores"},
        BEAM_BACKEND_OPTIONS(backend),
        {"layer", BEAM_FLAG, &layer, NULL, "one mixture layer alone: forward, backward down to its input"},
        {"gradient-checkpointing", BEAM_FLAG, &checkpointing, NULL, "recompute layers in backward"},
        {"json", BEAM_FLAG, &json, NULL, "print one JSON object"},
    };
    const beam_command command = {
        .synopsis = "bench train",
        .about =
            "Times training steps (forward, backward, AdamW) of random numbers in a model's shape, for "
            "mask gates\n"
            "only and for all weights, when tokens keep K, K/2 and K/8 experts: what skipping dropped "
            "experts\n"
            "in the backward pass saves. Beside each the share of the speed that plain matrix products "
            "reach on\n"
            "this machine; operations are counted from the model's shape. Also: `beam bench decode --help`, "
            "generating\n"
            "tokens, `beam bench batch --help`, what batches read and what it costs to read less, and `beam "
            "bench\n"
            "comm --help`, what ranks send each other.",
        .examples = "  beam bench train\n  beam bench train --model examples/tiny-moe --rows 16 --sequence "
                    "256\n  beam bench train --layer",
        .options = options,
        .n = sizeof options / sizeof *options,
        .min = 1,
        .max = 1,
    };
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    if (strcmp(rest.at[0], "train") != 0)
        return BEAM_FAIL(BEAM_ECONFIG, "bench %s: there are `beam bench train`, `decode`, `batch` and `comm`",
                         rest.at[0]);
    BEAM_TRY(beam_check_threads(threads));
    if (layer && checkpointing)
        return BEAM_FAIL(BEAM_ECONFIG, "bench: --layer has nothing to recompute; leave out "
                                       "--gradient-checkpointing");
    if (rows < 1 || sequence < 1 || steps < 1 || steps > BEAM_BENCH_MOST_STEPS || rows > (1 << 24) / sequence)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "bench: --rows, --sequence and --steps (1 to %d) must be positive, and rows * "
                         "sequence at most 16777216",
                         BEAM_BENCH_MOST_STEPS);
    beam_model_config config;
    BEAM_TRY(beam_bench_shape(model, &config));
    beam_backend be;
    BEAM_TRY(beam_backend_choice_open(&backend, threads, &be));
    beam_bench_options o = {.config = &config,
                            .rows = rows,
                            .sequence = sequence,
                            .steps = (int)steps,
                            .checkpointing = checkpointing};
    const beam_status status = bench(layer ? beam_bench_layer : beam_bench_train, &o, &be, json);
    beam_backend_close(&be);
    return status;
}
