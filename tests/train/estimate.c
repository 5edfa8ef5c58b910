/* What is foreseen is what happens: memory that a model and its training take, refusing what does not fit,
 * the settings that would, and counted operations. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "comm/tree.h"
#include "data/cmocka_all.h"
#include "data/scratch.h"
#include "model/families/families.h"
#include "optim/adamw.h"
#include "train/estimate.h"
#include "train/eval.h"
#include "train/flops.h"
#include "train/source.h"

#define SIZES                                                                                                \
    "\"vocab_size\": 40, \"hidden_size\": 16, \"num_hidden_layers\": 3, \"num_attention_heads\": 2, "        \
    "\"intermediate_size\": 24, \"moe_intermediate_size\": 8, \"num_experts_per_tok\": 2, "

static const char grouped_json[] =
    "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", " SIZES
    "\"num_key_value_heads\": 1, \"head_dim\": 8, \"num_experts\": 6, \"mlp_only_layers\": [1]}";
static const char windowed_json[] =
    "{\"architectures\": [\"Qwen2MoeForCausalLM\"], \"model_type\": \"qwen2_moe\", " SIZES
    "\"num_key_value_heads\": 2, \"num_experts\": 6, \"shared_expert_intermediate_size\": 12, "
    "\"use_sliding_window\": true, \"sliding_window\": 4, \"max_window_layers\": 3}";
static const char latent_json[] =
    "{\"architectures\": [\"DeepseekV2ForCausalLM\"], \"model_type\": \"deepseek_v2\", " SIZES
    "\"num_key_value_heads\": 2, \"n_routed_experts\": 6, \"n_shared_experts\": 2, \"kv_lora_rank\": 10, "
    "\"q_lora_rank\": 12, \"qk_nope_head_dim\": 6, \"qk_rope_head_dim\": 4, \"v_head_dim\": 10, "
    "\"first_k_dense_replace\": 1}";

static const char *const texts[] = {grouped_json, windowed_json, latent_json};
enum { MODELS = sizeof texts / sizeof texts[0] };

static beam_model_config read_model(int which)
{
    beam_model_config c;
    if (beam_model_config_read(scratch_text("config.json", texts[which]), &c) != BEAM_OK)
        fail_msg("model %d: %s", which, beam_last_error());
    return c;
}

/* A configuration of the model in config.json, with more keys. */
static beam_config configure(const char *more[], int n)
{
    char model[SCRATCH_PATH + 64];
    const char *keys[16] = {model, "dataset=unused"};
    beam_config c;
    snprintf(model, sizeof model, "model_name_or_path=random:%s", scratch_path("config.json"));
    for (int i = 0; i < n; i++)
        keys[2 + i] = more[i];
    if (beam_config_load(NULL, keys, n + 2, &c, NULL) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    return c;
}

static void same_as_allocated(const beam_model_config *config, const beam_model_options *options,
                              beam_backend *be)
{
    enum { PASSES = 5 };
    beam_memory_need need;
    beam_model *m;
    beam_adamw_state adamw;
    beam_tree tree;
    const beam_training training = {.accumulation = PASSES};
    assert_int_equal(beam_memory_measure(&need, config, options, &training, (beam_place){.real = be->real}),
                     BEAM_OK);
    if (beam_model_open(&m, config, options, be) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    const beam_memory_plan taken = beam_model_memory(m);
    /* The plan counts what aligning tensors adds. */
    assert_in_range(need.model.parameters - taken.parameters, 0, BEAM_ALIGN * beam_model_params(m).n);
    assert_int_equal(need.model.gradients, taken.gradients);
    assert_int_equal(need.model.activations, taken.activations);
    assert_int_equal(need.model.scratch, taken.scratch);
    if (options->scope != BEAM_SCOPE_NONE) {
        assert_int_equal(beam_adamw_open_whole(&adamw, beam_model_params(m), beam_model_grads(m), be),
                         BEAM_OK);
        assert_int_equal(beam_tree_open(&tree, beam_model_grads(m), PASSES, be), BEAM_OK);
        assert_int_equal(need.optimizer, adamw.bytes);
        assert_int_equal(need.accumulation, tree.bytes);
        assert_true(tree.bytes > 0 && adamw.bytes > 0 && need.trained > 0);
        beam_tree_close(&tree, be);
        beam_adamw_close(&adamw, be);
    }
    const size_t parts = need.model.parameters + taken.gradients + taken.activations + taken.scratch;
    assert_true(need.total >= parts + need.optimizer + need.accumulation + need.saving);
    beam_model_close(m);
}

static void plan_is_what_is_allocated(void **state)
{
    (void)state;
    static const beam_scope scopes[] = {BEAM_SCOPE_NONE, BEAM_SCOPE_MASKS, BEAM_SCOPE_ROUTERS,
                                        BEAM_SCOPE_ALL};
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
    for (int i = 0; i < MODELS; i++) {
        beam_model_config c = read_model(i);
        c.mask = (beam_mask_config){
            .present = true, .threshold = 0.5, .bias = true, .router_features = true, .give_back = i == 1};
        for (int s = 0; s < 4; s++)
            for (int checkpointing = 0; checkpointing < 2; checkpointing++)
                same_as_allocated(&c,
                                  &(beam_model_options){.scope = scopes[s],
                                                        .max_tokens = 24,
                                                        .checkpointing = checkpointing != 0},
                                  &be);
        for (beam_scope scope = BEAM_SCOPE_MASKS; scope <= BEAM_SCOPE_ROUTERS; scope++)
            same_as_allocated(
                &c, &(beam_model_options){.scope = scope, .max_tokens = 24, .distill = {0.5, 2}}, &be);
    }
    beam_backend_close(&be);
}

static void estimate_of_a_configuration(void **state)
{
    (void)state;
    const char *masks[] = {"cutoff_len=64", "per_device_train_batch_size=4", "save_total_limit=2"};
    read_model(0);
    beam_config c = configure(masks, 3);
    beam_estimate e, less;
    assert_int_equal(beam_estimate_make(&c, 1, &e), BEAM_OK);
    /* Two MoE layers of 6 experts: W_m, b, a, c. */
    assert_int_equal(e.count.gates, 2 * (6 * 16 + 6 + 1 + 2));
    assert_int_equal(e.train.trained, e.count.gates);
    assert_int_equal(e.checkpoint, 3 * 4 * e.count.gates);
    assert_int_equal(e.checkpoints, 3);
    assert_int_equal(e.export, 4 * (e.count.total + e.count.gates));
    assert_int_equal(e.train.accumulation, 0);
    assert_true(e.eval.total < e.train.total && e.eval.optimizer == 0 && e.eval.model.gradients == 0);
    c.gradient_checkpointing = true;
    assert_int_equal(beam_estimate_make(&c, 1, &less), BEAM_OK);
    assert_true(less.train.model.activations < e.train.model.activations);
    assert_true(less.step_flops == e.step_flops);
    c.trainable = BEAM_TRAIN_ALL;
    assert_int_equal(beam_estimate_make(&c, 1, &less), BEAM_OK);
    assert_int_equal(less.train.trained, e.count.total + e.count.gates);
    assert_true(less.step_flops > e.step_flops);
    c.cutoff_len = 1 << 20;
    c.per_device_train_batch_size = 1 << 16;
    assert_int_equal(beam_estimate_make(&c, 1, &e), BEAM_ECONFIG);
    assert_true(message_has("a micro-batch may have up to 2^31 - 1 tokens"));
}

/* The teacher's pass runs all candidates and no gates; soft masks drop nothing. */
static void ranks_share_experts(void **state)
{
    (void)state;
    const char *keys[] = {"cutoff_len=64", "expert_parallel=2"};
    const beam_model_config m = read_model(0);
    const beam_config all = configure(keys, 1), share = configure(keys, 2);
    beam_estimate e, less;
    assert_int_equal(beam_estimate_make(&all, 4, &e), BEAM_OK);
    assert_int_equal(beam_estimate_make(&share, 4, &less), BEAM_OK);
    const int64_t numbers = beam_moe_layers(&m) * m.experts / 2 * 3 * m.hidden_size * m.moe_intermediate_size;
    const size_t saved = e.train.model.parameters - less.train.model.parameters;
    assert_in_range(saved + 4 * BEAM_ALIGN * (size_t)m.layers - 4 * (size_t)numbers, 0,
                    8 * BEAM_ALIGN * (size_t)m.layers);
    assert_int_equal(less.train.trained, e.train.trained);
    assert_int_equal(less.count.total, e.count.total);
    assert_int_equal(beam_estimate_make(&share, 3, &less), BEAM_ECONFIG);
    assert_true(message_has("the 3 ranks of this job do not form groups of 2"));
}

static void teacher_and_soft_masks_cost(void **state)
{
    (void)state;
    const char *keys[] = {"cutoff_len=10", "per_device_train_batch_size=3", "mask.target_active=1.5"};
    read_model(0);
    beam_config c = configure(keys, 3);
    beam_estimate plain, taught, soft;
    assert_int_equal(beam_estimate_make(&c, 1, &plain), BEAM_OK);
    c.distill.weight = 0.5;
    assert_int_equal(beam_estimate_make(&c, 1, &taught), BEAM_OK);
    const beam_model_config base = read_model(0);
    const double forward = beam_flops_of(&base, BEAM_SCOPE_NONE, 10, (double)base.top_k).forward;
    assert_true(fabs(taught.step_flops - plain.step_flops - 30 * forward) <= 1e-9 * taught.step_flops);
    assert_true(taught.train.model.activations >= plain.train.model.activations + 30 * 16 * sizeof(float));
    assert_true(taught.eval.total == plain.eval.total);
    c.distill.weight = 0;
    c.mask.form = BEAM_FORM_SOFT;
    assert_int_equal(beam_estimate_make(&c, 1, &soft), BEAM_OK);
    assert_true(soft.active == 2 && soft.step_flops > plain.step_flops);
}

static size_t total_with(const beam_config *c)
{
    beam_estimate e;
    assert_int_equal(beam_estimate_make(c, 1, &e), BEAM_OK);
    return e.train.total;
}

/* Each piece of advice is true when followed, and none is given that would not help. */
static void advice_is_followed(void **state)
{
    (void)state;
    const char *large[] = {"cutoff_len=1024", "per_device_train_batch_size=12", "trainable=all"};
    read_model(0);
    const beam_config c = configure(large, 3);
    beam_config changed = c;
    beam_advice advice[BEAM_ADVICE];
    int n;

    changed.per_device_train_batch_size = 6;
    changed.gradient_accumulation_steps = 2;
    const size_t half = total_with(&changed);
    assert_true(half < total_with(&c));
    assert_int_equal(beam_estimate_advise(&c, 1, (int64_t)half, advice, &n), BEAM_OK);
    assert_in_range(n, 1, BEAM_ADVICE);
    bool found = false;
    for (int i = 0; i < n; i++) {
        assert_true(advice[i].total <= half);
        found |= strcmp(advice[i].keys, "per_device_train_batch_size=6 gradient_accumulation_steps=2") == 0;
    }
    assert_true(found);

    changed = c;
    changed.gradient_checkpointing = true;
    const size_t recomputed = total_with(&changed);
    assert_int_equal(beam_estimate_advise(&c, 1, (int64_t)recomputed, advice, &n), BEAM_OK);
    assert_true(n > 0);
    assert_string_equal(advice[0].keys, "gradient_checkpointing=true");
    assert_int_equal(advice[0].total, recomputed);

    beam_config slower = c;
    slower.base_lr_ratio = 0.1; /* which masks alone refuse */
    changed.per_device_train_batch_size = 1;
    changed.gradient_accumulation_steps = 12;
    changed.trainable = BEAM_TRAIN_MASKS;
    changed.cutoff_len = 128;
    const size_t least = total_with(&changed);
    assert_int_equal(beam_estimate_advise(&c, 1, (int64_t)least, advice, &n), BEAM_OK);
    assert_int_equal(n, 1);
    assert_string_equal(advice[0].keys,
                        "trainable=masks gradient_checkpointing=true per_device_train_batch_size=1 "
                        "gradient_accumulation_steps=12 cutoff_len=128");
    assert_int_equal(beam_estimate_advise(&slower, 1, (int64_t)least, advice, &n), BEAM_OK);
    assert_int_equal(n, 1);
    assert_string_equal(advice[0].keys,
                        "trainable=masks base_lr_ratio=null gradient_checkpointing=true "
                        "per_device_train_batch_size=1 gradient_accumulation_steps=12 cutoff_len=128");
    assert_int_equal(beam_estimate_advise(&c, 1, (int64_t)least - 1, advice, &n), BEAM_OK);
    assert_int_equal(n, 0);
}

/* Larger than any machine; there are no weights, and nobody gets as far as to miss them. */
static void larger_than_any_machine_is_refused(void **state)
{
    (void)state;
    const char *huge = "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", "
                       "\"vocab_size\": 151936, \"hidden_size\": 16384, \"num_hidden_layers\": 256, "
                       "\"num_attention_heads\": 128, \"num_key_value_heads\": 8, \"head_dim\": 128, "
                       "\"moe_intermediate_size\": 8192, \"num_experts\": 512, \"num_experts_per_tok\": 8}";
    beam_backend be;
    beam_model *m;
    const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = 8};
    assert_int_equal(mkdir(scratch_path("huge"), 0700), 0);
    scratch_text("huge/config.json", huge);
    assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
    assert_int_equal(
        beam_model_source_open(scratch_path("huge"), &(beam_gate_request){0}, &options, NULL, 1, &be, &m),
        BEAM_ECONFIG);
    assert_null(m);
    assert_true(message_has("huge: needs "));
    assert_true(message_has("but this machine has"));
    beam_backend_close(&be);
}

/* Every size at its limit: the sums of bytes would not fit into 64 bits. */
static void larger_than_64_bits_is_refused(void **state)
{
    (void)state;
    const char *largest =
        "{\"model_type\": \"deepseek_v2\", \"vocab_size\": 16777216, \"hidden_size\": 131072, "
        "\"num_hidden_layers\": 512, \"num_attention_heads\": 1024, \"n_routed_experts\": 4096, "
        "\"num_experts_per_tok\": 4096, \"moe_intermediate_size\": 1048576, \"n_shared_experts\": 256, "
        "\"intermediate_size\": 1048576, \"kv_lora_rank\": 131072, \"q_lora_rank\": 131072, "
        "\"qk_nope_head_dim\": 1024, \"qk_rope_head_dim\": 1024, \"v_head_dim\": 1024}";
    const char *wide[] = {"cutoff_len=65536", "per_device_train_batch_size=32767"},
               *all[] = {"trainable=all", "gradient_accumulation_steps=1024"};
    beam_estimate e;
    scratch_text("config.json", largest);
    beam_config c = configure(all, 2);
    assert_int_equal(beam_estimate_make(&c, 1, &e), BEAM_ECONFIG);
    assert_true(message_has("more than any machine holds"));
    /* Few parameters, but every token takes its part of a large batch. */
    scratch_text("config.json", "{\"model_type\": \"mixtral\", \"vocab_size\": 16, \"hidden_size\": 8, "
                                "\"num_hidden_layers\": 1, \"num_attention_heads\": 1, "
                                "\"num_key_value_heads\": 1, \"num_local_experts\": 4096, "
                                "\"num_experts_per_tok\": 4096, \"intermediate_size\": 1048576}");
    c = configure(wide, 2);
    assert_int_equal(beam_estimate_make(&c, 1, &e), BEAM_ECONFIG);
    assert_true(message_has("more than any machine holds"));
}

static void memory_is_required(void **state)
{
    (void)state;
    const beam_memory_need need = {.total = 1000, .model = {.parameters = 900}, .here = 1};
    const beam_host_memory unknown = {0}, small = {.total = 700, .available = 700, .swap = 299},
                           swapped = {.total = 700, .available = 600, .swap = 300};
    assert_int_equal(beam_memory_require("m", &need, &unknown), BEAM_OK);
    assert_int_equal(beam_memory_require("m", &need, &small), BEAM_ECONFIG);
    assert_int_equal(beam_memory_require("m", &need, &swapped), BEAM_OK);
    const beam_memory_need two = {.total = 500, .model = {.parameters = 450}, .here = 2};
    assert_int_equal(beam_memory_require("m", &two, &small), BEAM_ECONFIG);
    assert_true(message_has("for its 2 ranks on this machine"));
    assert_int_equal(beam_memory_require("m", &two, &swapped), BEAM_OK);
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fabs(b);
}

/* Two operations per element of every matrix that a token meets, and attention, by hand. */
static void operations_of_each_family(void **state)
{
    (void)state;
    const double sequence = 10, seen = 5.5, active = 1.5;
    const double moe = 2 * 16 * 6.0, expert = 2 * 3 * 16 * 8.0, dense = 2 * 3 * 16 * 24.0;
    const double head = 2 * 16 * 40.0;

    beam_model_config c = read_model(0); /* two MoE layers around a dense one */
    double matrices = 2 * (16 * 16 + 2 * 16 * 8 + 16 * 16.0), scores = 4 * 2 * 8 * seen;
    beam_flops f = beam_flops_of(&c, BEAM_SCOPE_NONE, sequence, active);
    assert_true(near(f.forward, head + 3 * (matrices + scores) + dense + 2 * (active * expert + moe)));
    assert_true(f.backward == 0);
    f = beam_flops_of(&c, BEAM_SCOPE_ALL, sequence, active);
    assert_true(near(f.forward, head + 3 * (matrices + scores) + dense + 2 * (active * expert + moe)));
    assert_true(
        near(f.backward, 2 * (head + 3 * matrices + dense + 2 * (active * expert + moe)) + 2.5 * 3 * scores));
    c.null_experts = 4; /* their rows of the router */
    f = beam_flops_of(&c, BEAM_SCOPE_NONE, sequence, active);
    assert_true(
        near(f.forward, head + 3 * (matrices + scores) + dense + 2 * (active * expert + moe + 2 * 16 * 4.0)));
    c.null_experts = 0;
    c.mask = (beam_mask_config){.present = true, .threshold = 0.5};
    f = beam_flops_of(&c, BEAM_SCOPE_MASKS, sequence, active);
    assert_true(near(f.forward, head + 3 * (matrices + scores) + dense + 2 * (active * expert + 2 * moe)));
    /* In the lowest layer only the gate's weight gradient, for which kept experts need one product of three;
     * in the other two everything's input gradient. Dropped experts cost a forward pass. */
    const double dropped = (2 - active) * expert;
    assert_true(near(f.backward, moe + active * expert / 3 + dropped + head + 2 * (matrices + 2.5 * scores) +
                                     dense + active * expert + dropped + 3 * moe));
    f = beam_flops_of_mixture(&c, BEAM_SCOPE_MASKS, active);
    assert_true(near(f.forward, active * expert + 2 * moe));
    assert_true(near(f.backward, active * expert + dropped + 3 * moe));
    f = beam_flops_of_mixture(&c, BEAM_SCOPE_ALL, active);
    assert_true(near(f.backward, 2 * active * expert + dropped + 4 * moe));

    c = read_model(1); /* layers 0 and 2 see 4 tokens; a gated shared expert of width 12 */
    matrices = 2 * 4 * 16 * 16.0;
    scores = 4 * 2 * 8 * (seen + 2 * (1 + 2 + 3 + 7 * 4) / sequence);
    f = beam_flops_of(&c, BEAM_SCOPE_NONE, sequence, active);
    const double shared = 2 * (3 * 16 * 12 + 16.0);
    assert_true(near(f.forward, head + 3 * matrices + scores + 3 * (active * expert + moe + shared)));

    c = read_model(2); /* latents of 12 and 10; heads of 6 + 4, values of 10; shared width 16 */
    matrices = 2 * (12 * 16 + 20 * 12 + (10 + 4) * 16 + 2 * (6 + 10) * 10 + 16 * 20.0);
    scores = 2 * 2 * (10 + 10) * seen;
    f = beam_flops_of(&c, BEAM_SCOPE_NONE, sequence, active);
    assert_true(near(f.forward, head + 3 * (matrices + scores) + dense +
                                    2 * (active * expert + moe + 2 * 3 * 16 * 16.0)));
}

static void work_saved_counts_what_is_always_paid(void **state)
{
    (void)state;
    const double expert = 3 * 16 * 8.0, gate = 16 * 6.0;
    beam_model_config c = read_model(0);
    assert_true(near(beam_moe_flops_saved(&c, true, 0.5), 1 - (0.5 * expert + gate) / (2 * expert)));
    assert_true(near(beam_moe_flops_saved(&c, false, 0.5), 0.75));
    c.null_experts = 4;
    assert_true(near(beam_moe_flops_saved(&c, false, 0.5), 1 - (0.5 * expert + 16 * 4) / (2 * expert)));
    c.null_experts = 0;
    c.mask.give_back = true;
    assert_true(
        near(beam_moe_flops_saved(&c, true, 0.5), 1 - (0.5 * expert + gate + 1.5 * 16) / (2 * expert)));
    c = read_model(1);
    const double shared = 3 * 16 * 12 + 16.0;
    assert_true(near(beam_moe_flops_saved(&c, true, 0.5),
                     1 - (0.5 * expert + shared + gate) / (2 * expert + shared)));
    assert_true(fabs(beam_moe_flops_saved(&c, false, 2)) < 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_is_what_is_allocated),
        cmocka_unit_test(estimate_of_a_configuration),
        cmocka_unit_test(ranks_share_experts),
        cmocka_unit_test(teacher_and_soft_masks_cost),
        cmocka_unit_test(advice_is_followed),
        cmocka_unit_test(larger_than_any_machine_is_refused),
        cmocka_unit_test(larger_than_64_bits_is_refused),
        cmocka_unit_test(memory_is_required),
        cmocka_unit_test(operations_of_each_family),
        cmocka_unit_test(work_saved_counts_what_is_always_paid),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
