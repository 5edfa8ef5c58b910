/* Keys of the method beyond its plain form: what they train, what they log, and that a stopped run goes on to
 * the same bits. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/checkpoint.h"
#include "model/load.h"
#include "train/source.h"
#include "train/tiny_run.h"

/* A stop in the middle, against the uninterrupted run. */
static void resumes(const char *name, const char *const overrides[])
{
    char whole[64], parts[64];
    snprintf(whole, sizeof whole, "%s-whole", name);
    snprintf(parts, sizeof parts, "%s-parts", name);
    const beam_config a = tiny_run_config(whole, overrides), b = tiny_run_config(parts, overrides);
    tiny_run_expect(&a, 0, BEAM_OK);
    tiny_run_expect(&b, 3, BEAM_STOPPED);
    tiny_run_expect(&b, 0, BEAM_OK);
    tiny_run_same(&a, &b);
}

static void teacher_and_union(void **state)
{
    (void)state;
    static const char *const keys[] = {"distill.weight=0.5",
                                       "distill.temperature=2",
                                       "mask.union_penalty=0.5",
                                       "mask.union_batch=8",
                                       "mask.penalty_norm=l2",
                                       "mask.give_back=true",
                                       NULL};
    resumes("teacher", keys);
    const beam_config c = tiny_run_config("teacher-whole", keys);
    const double u = tiny_run_metric(&c, "union_loss"), d = tiny_run_metric(&c, "divergence");
    assert_true(u > 0 && u < 1 && d > 0);
    const double loss = 0.5 * tiny_run_metric(&c, "task_loss") + 0.5 * d + 0.5 * u +
                        tiny_run_metric(&c, "penalty") * tiny_run_metric(&c, "mask_loss");
    assert_true(fabs(loss - tiny_run_metric(&c, "loss")) <= 1e-6);
}

static void soft_masks_anneal(void **state)
{
    (void)state;
    static const char *const keys[] = {"mask.form=soft", "mask.temperature=2", "mask.temperature_end=0.05",
                                       NULL};
    resumes("soft", keys);
    const beam_config c = tiny_run_config("soft-whole", keys);
    assert_true(tiny_run_metric(&c, "eval_avg_active") <= 3);
}

/* The union penalty closes experts that the batch could share instead. */
static void union_penalty_touches_fewer_experts(void **state)
{
    (void)state;
    static const char *const without[] = {"mask.penalty=0", "max_steps=60", "mask.union_batch=2",
                                          "mask.union_penalty=1e-9", NULL};
    static const char *const with[] = {"mask.penalty=0", "max_steps=60", "mask.union_batch=2",
                                       "mask.union_penalty=5", NULL};
    const beam_config a = tiny_run_config("union-none", without), b = tiny_run_config("union-much", with);
    tiny_run_expect(&a, 0, BEAM_OK);
    tiny_run_expect(&b, 0, BEAM_OK);
    const double before = tiny_run_metric(&a, "union_loss"), after = tiny_run_metric(&b, "union_loss");
    if (!(after < 0.8 * before))
        fail_msg("union of a group: %g of the experts with the penalty, %g without", after, before);
}

/* In groups of one token, U is K / E of the mean mask: of real tokens, however many groups are padding. */
static void union_leaves_padding_out(void **state)
{
    (void)state;
    static const char *const keys[] = {"packing=false", "mask.union_penalty=0.5", "mask.union_batch=1", NULL};
    const beam_config c = tiny_run_config("union-padded", keys);
    tiny_run_expect(&c, 0, BEAM_OK);
    const double u = tiny_run_metric(&c, "union_loss"), q = tiny_run_metric(&c, "mask_loss");
    if (!(fabs(u - 3.0 / 6.0 * q) <= 1e-6))
        fail_msg("union_loss %g, half the mask_loss is %g", u, q / 2);
}

/* Exported masks have no temperature: a run must end where they cut. */
static void temperature_moves_the_threshold(void **state)
{
    (void)state;
    static const char *const keys[] = {"mask.threshold=0.7", "mask.temperature=2", "mask.temperature_end=0.1",
                                       NULL};
    static const char *const ends_at_one[] = {"mask.threshold=0.7", "mask.temperature=2", NULL};
    const beam_config c = tiny_run_config("cut", keys), d = tiny_run_config("cut-at-one", ends_at_one);
    tiny_run_expect(&c, 0, BEAM_ECONFIG);
    assert_non_null(strstr(beam_last_error(), "mask.temperature_end is 0.1 and the masks' threshold 0.7"));
    tiny_run_expect(&d, 0, BEAM_OK);
}

/* Recomputing layers changes no bit, whatever passes there are. */
static void teacher_with_recomputation(void **state)
{
    (void)state;
    static const char *const plain[] = {"distill.weight=0.5",  "mask.union_penalty=0.5", "mask.union_batch=8",
                                        "mask.give_back=true", "packing=false",          NULL};
    static const char *const again[] = {"distill.weight=0.5",
                                        "mask.union_penalty=0.5",
                                        "mask.union_batch=8",
                                        "mask.give_back=true",
                                        "packing=false",
                                        "gradient_checkpointing=true",
                                        NULL};
    const beam_config a = tiny_run_config("kept", plain), b = tiny_run_config("recomputed", again);
    tiny_run_expect(&a, 0, BEAM_OK);
    tiny_run_expect(&b, 0, BEAM_OK);
    tiny_run_same(&a, &b);
}

/* Every target weighs the same, in whatever micro-batch it stands. */
static void micro_batches_do_not_matter(void **state)
{
    (void)state;
#define TERMS                                                                                                \
    "distill.weight=0.5", "distill.temperature=2", "mask.penalty_norm=l2", "packing=false",                  \
        "mask.union_penalty=0.5", "mask.union_batch=1"
    static const char *const one[] = {TERMS, "per_device_train_batch_size=6", "gradient_accumulation_steps=1",
                                      NULL};
    static const char *const two[] = {TERMS, "per_device_train_batch_size=3", "gradient_accumulation_steps=2",
                                      NULL};
    static const char *const metrics[] = {"loss", "divergence", "union_loss", "grad_norm", "mask_loss"};
#undef TERMS
    const beam_config a = tiny_run_config("together", one), b = tiny_run_config("apart", two);
    tiny_run_expect(&a, 0, BEAM_OK);
    tiny_run_expect(&b, 0, BEAM_OK);
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        const double x = tiny_run_metric(&a, metrics[i]), y = tiny_run_metric(&b, metrics[i]);
        if (!(fabs(x - y) <= 1e-4 * fabs(x)))
            fail_msg("%s: %.9g at once, %.9g in two micro-batches", metrics[i], x, y);
    }
}

/* The model of the run's last checkpoint, and its first one: the same seed without a step. */
typedef struct {
    beam_backend be;
    beam_model *before, *after;
} models;

static void open_models(models *m, const beam_config *c)
{
    beam_run_info info;
    const beam_gate_request gates = beam_gate_request_of(c);
    const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = 64};
    assert_int_equal(beam_backend_cpu(&m->be, 1), BEAM_OK);
    assert_int_equal(
        beam_model_source_open(c->model_name_or_path, &gates, &options, NULL, c->seed, &m->be, &m->before),
        BEAM_OK);
    assert_int_equal(beam_model_source_run(c->output_dir, 64, &m->be, &m->after, &info), BEAM_OK);
}

static void close_models(models *m)
{
    beam_model_close(m->before);
    beam_model_close(m->after);
    beam_backend_close(&m->be);
}

static bool changed(const models *m, int i)
{
    const beam_tensor a = beam_model_params(m->before).at[i].value,
                      b = beam_model_params(m->after).at[i].value;
    return memcmp(a.data, b.data, beam_bytes(a)) != 0;
}

static void masks_and_routers(void **state)
{
    (void)state;
    static const char *const keys[] = {"trainable=masks+router", "router_aux_loss_coef=0.01",
                                       "distill.weight=0.3", NULL};
    models m;
    resumes("routers", keys);
    const beam_config c = tiny_run_config("routers-whole", keys);
    open_models(&m, &c);
    const beam_params p = beam_model_params(m.after);
    for (int i = 0; i < p.n; i++) {
        const bool trains = strstr(p.at[i].name, "mlp.gate.weight") || (p.at[i].flags & BEAM_MASK_GATE);
        assert_int_equal(changed(&m, i), trains);
    }
    close_models(&m);
}

/* With open masks the first step's model is its teacher; later ones have other routers. */
static void the_base_teaches(void **state)
{
    (void)state;
#define TAUGHT "trainable=masks+router", "distill.weight=0.5", "mask.init_bias=100", "learning_rate=0.1"
    static const char *const one[] = {TAUGHT, "max_steps=1", NULL}, *const three[] = {TAUGHT, "max_steps=3",
                                                                                      NULL};
#undef TAUGHT
    const beam_config a = tiny_run_config("taught-once", one), b = tiny_run_config("taught", three);
    tiny_run_expect(&a, 0, BEAM_OK);
    tiny_run_expect(&b, 0, BEAM_OK);
    assert_true(tiny_run_metric(&a, "divergence") == 0 && tiny_run_metric(&b, "divergence") > 0);
}

static void gates_without_the_token(void **state)
{
    (void)state;
    static const char *const keys[] = {"mask.token_features=false", "weight_decay=0.1", NULL};
    models m;
    const beam_config c = tiny_run_config("tokenless", keys);
    tiny_run_expect(&c, 0, BEAM_OK);
    open_models(&m, &c);
    const beam_params p = beam_model_params(m.after);
    for (int i = 0; i < p.n; i++)
        if (p.at[i].flags & BEAM_MASK_GATE)
            assert_int_equal(changed(&m, i), strstr(p.at[i].name, "mask_gate.weight") == NULL);
    close_models(&m);
}

static void fewer_candidates(void **state)
{
    (void)state;
    static const char *const keys[] = {"num_experts_per_tok=2", "mask.mode=off", "trainable=all", NULL};
    static const char *const more[] = {"num_experts_per_tok=7", NULL};
    const beam_config c = tiny_run_config("fewer", keys), d = tiny_run_config("more", more);
    tiny_run_expect(&c, 0, BEAM_OK);
    assert_true(tiny_run_metric(&c, "eval_avg_active") == 2);
    models m;
    open_models(&m, &c);
    assert_int_equal(beam_model_config_of(m.after)->top_k, 2);
    close_models(&m);
    tiny_run_expect(&d, 0, BEAM_ECONFIG);
    assert_non_null(strstr(beam_last_error(), "only 6 experts"));
}

/* Tokens that choose null experts run fewer real ones: K E / (E + N) of them, once all are equally liked. */
static void null_experts(void **state)
{
    (void)state;
    static const char *const keys[] = {"null_experts=12", "mask.mode=off", "trainable=all",
                                       "router_aux_loss_coef=0.01", NULL};
    static const char *const even[] = {"null_experts=12", "mask.mode=off",          "trainable=all",
                                       "max_steps=60",    "router_aux_loss_coef=1", NULL};
    resumes("nulls", keys);
    const beam_config c = tiny_run_config("nulls-even", even);
    tiny_run_expect(&c, 0, BEAM_OK);
    const double active = tiny_run_metric(&c, "eval_avg_active"), loss = tiny_run_metric(&c, "balance_loss");
    if (!(fabs(active - 3 * 6.0 / 18) <= 0.1) || !(fabs(loss - 3) <= 0.2))
        fail_msg("Avg-K %g, balance %g: 18 experts that are chosen equally often give 1 and 3", active, loss);
}

static void routers_alone_with_nulls(void **state)
{
    (void)state;
    static const char *const keys[] = {"null_experts=2", "mask.mode=off", "trainable=masks+router", NULL};
    models m;
    const beam_config c = tiny_run_config("nulls-router", keys);
    tiny_run_expect(&c, 0, BEAM_OK);
    open_models(&m, &c);
    const beam_params p = beam_model_params(m.after);
    for (int i = 0; i < p.n; i++)
        assert_int_equal(changed(&m, i), strstr(p.at[i].name, "mlp.gate.weight") != NULL);
    close_models(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(teacher_and_union),
        cmocka_unit_test(soft_masks_anneal),
        cmocka_unit_test(union_penalty_touches_fewer_experts),
        cmocka_unit_test(union_leaves_padding_out),
        cmocka_unit_test(temperature_moves_the_threshold),
        cmocka_unit_test(teacher_with_recomputation),
        cmocka_unit_test(micro_batches_do_not_matter),
        cmocka_unit_test(masks_and_routers),
        cmocka_unit_test(the_base_teaches),
        cmocka_unit_test(gates_without_the_token),
        cmocka_unit_test(fewer_candidates),
        cmocka_unit_test(null_experts),
        cmocka_unit_test(routers_alone_with_nulls),
    };
    return cmocka_run_group_tests(tests, tiny_run_open, scratch_close);
}
