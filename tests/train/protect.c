/* Experts that masks never drop: what mask.protect accepts, and that a protected expert stays through
 * training, resuming and reloading, whatever the penalty. */
#include "train/protect.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/load.h"
#include "serve/export.h"
#include "train/planted.h"
#include "train/source.h"
#include "train/tiny_run.h"

enum { LAYERS = 2, EXPERTS = 6, TOP_K = 3, HIDDEN = 16, MOST_TOKENS = 64 };

static void what_the_key_accepts(void **state)
{
    (void)state;
    beam_protect p;
    planted_need(beam_protect_parse("none", "here", &p));
    assert_true(!p.automatic && p.n == 0);
    planted_need(beam_protect_parse("auto", "here", &p));
    assert_true(p.automatic && p.n == 0);
    planted_need(beam_protect_parse(" 1:68  2:92 ", "here", &p));
    assert_true(!p.automatic && p.n == 2 && p.at[1].layer == 2 && p.at[1].expert == 92);
    static const char *const wrong[] = {"automatic",
                                        "1",
                                        "1:",
                                        ":2",
                                        "1:2:3",
                                        "1:2,3:4",
                                        "-1:2",
                                        "1:+2",
                                        "1: 2",
                                        "1:2 x",
                                        "1.0:2",
                                        "1:2\t3:4",
                                        "99999999999999999999:1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(beam_protect_parse(wrong[i], "here", &p), BEAM_ECONFIG);
        assert_true(message_has("here: mask.protect: \""));
    }
    assert_int_equal(beam_protect_parse("1:2 2:2 01:2", "here", &p), BEAM_ECONFIG);
    assert_true(message_has("names expert 2 of layer 1 twice"));
    assert_int_equal(beam_protect_parse(" ", "here", &p), BEAM_ECONFIG);
    assert_true(message_has("is empty"));
    char longest[BEAM_PATH_MAX] = "";
    for (int i = 0; i < 255; i++) /* as much as a text holds */
        snprintf(longest + strlen(longest), sizeof longest - strlen(longest), "%d:%d ", i / 10 % 10, i % 10);
    assert_int_equal(beam_protect_parse(longest, "here", &p), BEAM_ECONFIG);
    assert_true(message_has("twice"));
}

static void what_the_model_lacks_is_refused(void **state)
{
    (void)state;
    static const char *const layer[] = {"mask.protect=2:0", NULL}, *const expert[] = {"mask.protect=0:6",
                                                                                      NULL};
    const beam_config a = tiny_run_config("layer", layer), b = tiny_run_config("expert", expert);
    tiny_run_expect(&a, 0, BEAM_ECONFIG);
    assert_true(message_has("2:0: the model has layers 0 to 1"));
    tiny_run_expect(&b, 0, BEAM_ECONFIG);
    assert_true(message_has("0:6: a layer has experts 0 to 5"));

    size_t size;
    char *text = scratch_read(scratch_path("config.json"), &size), model[BEAM_PATH_MAX];
    char *dense = malloc(size + 64);
    assert_non_null(dense);
    snprintf(dense, size + 64, "{\"mlp_only_layers\": [0], %s", strchr(text, '{') + 1);
    snprintf(model, sizeof model, "model_name_or_path=random:%s", scratch_text("dense.json", dense));
    free(dense);
    free(text);
    const char *const first[] = {model, "mask.protect=1:5 0:1", NULL};
    const beam_config c = tiny_run_config("dense", first);
    tiny_run_expect(&c, 0, BEAM_ECONFIG);
    assert_true(message_has("0:1: layer 0 is dense"));
}

static void keys_that_do_not_go_together(void **state)
{
    (void)state;
    static const char *const zero[] = {"model_name_or_path=m", "dataset=d", "mask.protect=auto",
                                       "mask.init=zero"};
    static const char *const off[] = {"model_name_or_path=m", "dataset=d", "mask.protect=0:1",
                                      "mask.mode=off", "trainable=all"};
    static const char *const twice[] = {"model_name_or_path=m", "dataset=d", "mask.protect=0:1 0:1"};
    beam_config c;
    assert_int_equal(beam_config_load(NULL, zero, 4, &c, NULL), BEAM_ECONFIG);
    assert_true(message_has("command line: mask.protect works through the gates' bias"));
    assert_int_equal(beam_config_load(NULL, off, 5, &c, NULL), BEAM_ECONFIG);
    assert_true(message_has("mask.mode is off"));
    assert_int_equal(beam_config_load(NULL, twice, 3, &c, NULL), BEAM_ECONFIG);
    assert_true(message_has("twice"));
}

/* Kept and dropped pairs over the whole token file, for protected experts and for all others. */
typedef struct {
    beam_backend *be;
    const beam_protect *protect;
    int64_t kept[2], dropped[2]; /* [1]: protected */
} tally;

static void count(void *context, const beam_moe_seen *seen)
{
    tally *t = context;
    int32_t expert[MOST_TOKENS * TOP_K];
    uint8_t keep[MOST_TOKENS * TOP_K], counted[MOST_TOKENS];
    beam_download(t->be, expert, seen->route->expert);
    beam_download(t->be, keep, seen->route->keep);
    beam_download(t->be, counted, seen->counted);
    for (int64_t i = 0; i < beam_count(seen->route->expert); i++) {
        bool is_protected = false;
        for (int p = 0; p < t->protect->n; p++)
            is_protected |= t->protect->at[p].layer == seen->layer && t->protect->at[p].expert == expert[i];
        if (counted[i / TOP_K])
            (keep[i] ? t->kept : t->dropped)[is_protected]++;
    }
}

static tally tally_of(beam_model *m, const beam_protect *protect)
{
    tally t = {.be = beam_model_backend(m), .protect = protect};
    beam_loader *l = planted_tokens();
    beam_model_observe(m, count, &t);
    for (int64_t row = 0; row < beam_loader_rows(l); row += 2) {
        const beam_batch *batch;
        planted_need(beam_loader_read(l, row, beam_loader_rows(l), &batch));
        beam_model_forward(m, batch, 0);
        planted_need(beam_sync(t.be));
    }
    beam_model_observe(m, NULL, NULL);
    beam_loader_close(l);
    return t;
}

/* The gate of a protected expert is what it was at the start, in every bit, and no other is like it. */
static void check_gates(beam_model *m, const beam_protect *protect)
{
    for (int64_t layer = 0; layer < LAYERS; layer++) {
        char name[BEAM_NAME_MAX];
        float weight[EXPERTS * HIDDEN], bias[EXPERTS];
        snprintf(name, sizeof name, "model.layers.%d.mlp.mask_gate.weight", (int)layer);
        planted_need(beam_tensor_get_f32(beam_model_backend(m), planted_param(m, name)->value, weight));
        snprintf(name, sizeof name, "model.layers.%d.mlp.mask_gate.bias", (int)layer);
        planted_need(beam_tensor_get_f32(beam_model_backend(m), planted_param(m, name)->value, bias));
        for (int64_t e = 0; e < EXPERTS; e++) {
            bool is_protected = false, zero = true;
            for (int p = 0; p < protect->n; p++)
                is_protected |= protect->at[p].layer == layer && protect->at[p].expert == e;
            for (int64_t j = 0; j < HIDDEN; j++)
                zero &= weight[e * HIDDEN + j] == 0;
            assert_true(is_protected ? zero && bias[e] == 1e4F : !zero && fabsf(bias[e]) < 100);
        }
    }
}

/* The newest checkpoint of a run; the model is open until both are closed. */
static beam_model *open_run(const beam_config *c, beam_backend *be, beam_run_info *info)
{
    beam_model *m;
    planted_need(beam_backend_cpu(be, 1));
    planted_need(beam_model_source_run(c->output_dir, MOST_TOKENS, be, &m, info));
    return m;
}

static void export_run(const beam_config *c, const char *to)
{
    beam_backend be;
    beam_run_info info;
    beam_model *m = open_run(c, &be, &info);
    const char *config_json = beam_model_source_random(c->model_name_or_path);
    const beam_export_options x = {.base = config_json ? config_json : c->model_name_or_path,
                                   .run = info.checkpoint,
                                   .out = to,
                                   .base_trained = config_json != NULL,
                                   .shard_bytes = 1 << 30,
                                   .avg_active = NAN};
    planted_need(beam_export(m, &x, &(beam_mask_margins){0}));
    beam_model_close(m);
    beam_backend_close(&be);
}

static tally check_model(beam_model *m, const beam_protect *protect)
{
    check_gates(m, protect);
    const tally t = tally_of(m, protect);
    assert_true(t.kept[1] > 100 && t.dropped[1] == 0);
    return t;
}

static tally check_run(const beam_config *c, const beam_protect *protect)
{
    beam_backend be;
    beam_run_info info;
    beam_model *m = open_run(c, &be, &info);
    const tally t = check_model(m, protect);
    beam_model_close(m);
    beam_backend_close(&be);
    return t;
}

static tally check_folder(const char *folder, const beam_protect *protect)
{
    beam_backend be;
    beam_model *m;
    const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = MOST_TOKENS};
    planted_need(beam_backend_cpu(&be, 1));
    planted_need(beam_model_source_open(folder, &(beam_gate_request){0}, &options, NULL, 0, &be, &m));
    const tally t = check_model(m, protect);
    beam_model_close(m);
    beam_backend_close(&be);
    return t;
}

static void same_tally(tally a, tally b)
{
    assert_memory_equal(a.kept, b.kept, sizeof a.kept);
    assert_memory_equal(a.dropped, b.dropped, sizeof a.dropped);
}

/* A penalty that closes everything else. */
#define HARSH                                                                                                \
    "mask.penalty=50", "learning_rate=0.1", "lr_scheduler_type=constant", "max_steps=60",                    \
        "weight_decay=0.1", "eval_steps=0"

static void a_list_stays_whatever_the_penalty(void **state)
{
    (void)state;
    static const char *const keys[] = {HARSH, "mask.protect=0:2 1:4", NULL};
    static const char *const others[] = {HARSH, "mask.protect=0:2 1:5", NULL};
    const beam_protect list = {.n = 2, .at = {{0, 2}, {1, 4}}};
    const beam_config whole = tiny_run_config("whole", keys), parts = tiny_run_config("parts", keys);
    tiny_run_expect(&whole, 0, BEAM_OK);
    tiny_run_expect(&parts, 5, BEAM_STOPPED);
    assert_true(check_run(&parts, &list).kept[0] > 0); /* the others are still falling */
    tiny_run_expect(&parts, 20, BEAM_STOPPED);
    check_run(&parts, &list);
    tiny_run_expect(&parts, 0, BEAM_OK);
    const tally t = check_run(&parts, &list);
    assert_true(t.kept[0] == 0 && t.dropped[0] > 1000);
    export_run(&parts, scratch_path("exported"));
    same_tally(check_folder(scratch_path("exported"), &list), t);
    tiny_run_same(&whole, &parts);

    beam_config other = tiny_run_config("parts", others);
    const char *last = scratch_path("parts/checkpoint-000060");
    memcpy(other.resume_from_checkpoint, last, strlen(last) + 1);
    tiny_run_expect(&other, 0, BEAM_ECONFIG);
    assert_true(message_has("was made without protecting expert 5 of layer 1"));
}

/* Protecting one more expert of a model whose gates were trained before. */
static void gates_that_a_model_brings(void **state)
{
    (void)state;
    char model[BEAM_PATH_MAX];
    static const char *const open[] = {"mask.protect=0:2", NULL};
    static const char *const zero[] = {"mask.init=zero", NULL};
    const beam_protect one = {.n = 1, .at = {{0, 2}}}, two = {.n = 2, .at = {{0, 2}, {1, 0}}};
    const beam_config first = tiny_run_config("first", open), plain = tiny_run_config("no-bias", zero);
    tiny_run_expect(&first, 0, BEAM_OK);
    check_run(&first, &one);
    export_run(&first, scratch_path("first-exported"));
    snprintf(model, sizeof model, "model_name_or_path=%.900s", scratch_path("first-exported"));
    const char *const more[] = {model, HARSH, "mask.protect=1:0", NULL};
    const beam_config second = tiny_run_config("second", more);
    tiny_run_expect(&second, 0, BEAM_OK);
    check_run(&second, &two);

    tiny_run_expect(&plain, 0, BEAM_OK);
    export_run(&plain, scratch_path("no-bias-exported"));
    snprintf(model, sizeof model, "model_name_or_path=%.900s", scratch_path("no-bias-exported"));
    const beam_config third = tiny_run_config("third", more);
    tiny_run_expect(&third, 0, BEAM_EMODEL);
    assert_true(message_has("needs mask gates with a bias"));
}

static void all_weights_and_give_back(void **state)
{
    (void)state;
    static const char *const keys[] = {
        HARSH, "mask.protect=0:2 1:4", "trainable=all", "mask.give_back=true", "learning_rate=0.03", NULL};
    const beam_protect list = {.n = 2, .at = {{0, 2}, {1, 4}}};
    const beam_config c = tiny_run_config("everything", keys);
    tiny_run_expect(&c, 0, BEAM_OK);
    check_run(&c, &list);
}

/* At the highest temperature too, q is 1 to the last bit: no gradient reaches what is protected. */
static void routers_and_hot_soft_masks(void **state)
{
    (void)state;
    static const char *const keys[] = {HARSH,
                                       "mask.protect=0:2 1:4",
                                       "trainable=masks+router",
                                       "mask.form=soft",
                                       "mask.temperature=100",
                                       "mask.temperature_end=100",
                                       "mask.union_penalty=5",
                                       NULL};
    const beam_protect list = {.n = 2, .at = {{0, 2}, {1, 4}}};
    const beam_config c = tiny_run_config("hot", keys);
    tiny_run_expect(&c, 0, BEAM_OK);
    check_run(&c, &list);
}

static void auto_protects_what_was_planted(void **state)
{
    (void)state;
    char model[BEAM_PATH_MAX + 32];
    beam_backend be;
    beam_model *m = planted_open(&be, MOST_TOKENS);
    planted_grow(m);
    const beam_export_options x = {.base = scratch_path("config.json"),
                                   .run = "planted",
                                   .out = scratch_path("planted"),
                                   .base_trained = true,
                                   .shard_bytes = 1 << 30,
                                   .avg_active = NAN};
    planted_need(beam_export(m, &x, &(beam_mask_margins){0}));
    beam_model_close(m);
    beam_backend_close(&be);
    snprintf(model, sizeof model, "model_name_or_path=%s", scratch_path("planted"));
    const char *const keys[] = {model, HARSH, "mask.protect=auto", NULL};
    const beam_protect found = {.n = 1, .at = {{PLANTED_LAYER, PLANTED_EXPERT}}};
    const beam_config whole = tiny_run_config("auto-whole", keys), parts = tiny_run_config("auto", keys);
    tiny_run_expect(&whole, 0, BEAM_OK);
    tiny_run_expect(&parts, 7, BEAM_STOPPED);
    check_run(&parts, &found);
    tiny_run_expect(&parts, 0, BEAM_OK);
    export_run(&parts, scratch_path("auto-exported"));
    same_tally(check_folder(scratch_path("auto-exported"), &found), check_run(&parts, &found));
    tiny_run_same(&whole, &parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_key_accepts),         cmocka_unit_test(what_the_model_lacks_is_refused),
        cmocka_unit_test(keys_that_do_not_go_together), cmocka_unit_test(a_list_stays_whatever_the_penalty),
        cmocka_unit_test(gates_that_a_model_brings),    cmocka_unit_test(all_weights_and_give_back),
        cmocka_unit_test(routers_and_hot_soft_masks),   cmocka_unit_test(auto_protects_what_was_planted),
    };
    return cmocka_run_group_tests(tests, tiny_run_open, scratch_close);
}
