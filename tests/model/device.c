/* Whole models on a device against the processor: every fixture of tests/fixtures/families forward and
 * backward, in float32 and in bfloat16, and training runs. Built twice: as model.simt over the simulated
 * device, and as model.cuda for a GPU (skipped where there is none). An argument is the number of times that
 * the repeated pass runs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cuda/devices.h"
#include "model/hf_fixture.h"
#include "model/load.h"
#include "optim/adamw.h"
#include "train/source.h"
#include "train/tiny_run.h"
#include "train/trainer.h"

/* Largest differences allowed. The processor computes in float32 with the device's rounded weights, so that
 * bfloat16 rounds activations and their gradients only; a mask logit near the threshold, or a router's choice
 * that is nearly even, then falls to the other side, which moves the losses of single tokens. */
typedef struct {
    double loss;     /* mean over targets */
    double token;    /* loss of one */
    double kept;     /* experts per token of a layer */
    double soft;     /* sum of q / K over the tokens of a layer, relative */
    double gradient; /* relative in L2, over all gradients together */
} tolerances;

static const tolerances in_f32 = {.loss = 1e-5, .token = 1e-4, .kept = 0, .soft = 1e-5, .gradient = 1e-4},
                        in_bf16 = {.loss = 0.02, .token = 0.6, .kept = 0.1, .soft = 0.02, .gradient = 0.15};

static const tolerances *tolerances_of(beam_dtype real)
{
    return real == BEAM_BF16 ? &in_bf16 : &in_f32;
}

enum { CPU, DEVICE, BOTH };

typedef struct {
    hf_fixture f[BOTH];
    beam_model *m[BOTH];
    beam_dtype real;
} pair;

/* The processor's model takes the device's numbers. */
static void copy_values(pair *p)
{
    const beam_params from = beam_model_params(p->m[DEVICE]), to = beam_model_params(p->m[CPU]);
    for (int i = 0; i < from.n; i++) {
        float *values = malloc((size_t)beam_count(from.at[i].value) * sizeof *values);
        assert_non_null(values);
        hf_need(beam_tensor_get_f32(&p->f[DEVICE].be, from.at[i].value, values));
        hf_need(beam_tensor_set_f32(&p->f[CPU].be, to.at[i].value, values));
        free(values);
    }
}

static void open_pair(pair *p, const char *variant, beam_dtype real, beam_scope scope, bool checkpointing)
{
    *p = (pair){.real = real};
    for (int i = 0; i < BOTH; i++)
        hf_fixture_open(&p->f[i], variant, 1);
    beam_backend_close(&p->f[DEVICE].be);
    hf_need(beam_backend_cuda(&p->f[DEVICE].be, 0, real));
    for (int i = 0; i < BOTH; i++) {
        hf_fixture_masks(&p->f[i], true);
        p->m[i] = hf_fixture_model(&p->f[i], scope, checkpointing);
    }
    copy_values(p);
}

static void close_pair(pair *p)
{
    for (int i = 0; i < BOTH; i++) {
        beam_model_close(p->m[i]);
        hf_fixture_close(&p->f[i]);
    }
}

static void set_form(pair *p, beam_mask_form form)
{
    for (int i = 0; i < BOTH; i++) {
        beam_expert_rule rule = beam_model_rule(p->m[i]);
        rule.form = form;
        beam_model_set_rule(p->m[i], rule);
    }
}

/* What a pass leaves on the host. */
typedef struct {
    beam_forward_result sums;
    double *token, *stats;
    float *gradient;
    int64_t tokens, numbers, layers, columns;
} outcome;

static outcome pass(pair *p, int which)
{
    beam_model *m = p->m[which];
    const beam_model_config *c = beam_model_config_of(m);
    const beam_batch *b = &p->f[which].batch;
    outcome o = {.tokens = b->tokens,
                 .numbers = beam_count(beam_model_grads(m)),
                 .layers = beam_moe_layers(c),
                 .columns = BEAM_STAT_EXPERTS + c->experts};
    const double pairs = (double)(o.layers * b->counted_total * c->top_k);
    o.token = calloc((size_t)o.tokens, sizeof *o.token);
    o.stats = calloc((size_t)(o.layers * o.columns), sizeof *o.stats);
    o.gradient = calloc((size_t)o.numbers, sizeof *o.gradient);
    assert_true(o.token && o.stats && o.gradient);
    hf_need(beam_model_take_stats(m, NULL));
    beam_model_zero_grads(m);
    beam_model_forward(m, b, 1.0 / (double)b->targets);
    beam_model_backward(m, &(beam_backward_args){.masks.penalty = 0.7 / pairs});
    hf_need(beam_model_result(m, &o.sums));
    hf_need(beam_model_token_losses(m, o.token));
    hf_need(beam_model_take_stats(m, o.stats));
    beam_download(&p->f[which].be, o.gradient, beam_model_grads(m));
    hf_need(beam_sync(&p->f[which].be));
    return o;
}

static void free_outcome(outcome *o)
{
    free(o->token);
    free(o->stats);
    free(o->gradient);
}

static void require(const pair *p, const char *what, double error, double tolerance)
{
    if (!(error <= tolerance))
        fail_msg("%s, %s: %s differs by %.3g, more than %g", p->f[CPU].variant, beam_dtype_name(p->real),
                 what, error, tolerance);
}

static double worst_token(const outcome *a, const outcome *b)
{
    double worst = 0;
    for (int64_t i = 0; i < a->tokens; i++) {
        const double error = fabs(a->token[i] - b->token[i]);
        worst = !(error <= worst) ? error : worst;
    }
    return worst;
}

/* |a - b| / |a| of the whole gradients. */
static double gradient_error(const outcome *a, const outcome *b)
{
    double apart = 0, all = 0;
    for (int64_t i = 0; i < a->numbers; i++) {
        const double x = (double)a->gradient[i], d = (double)b->gradient[i] - x;
        apart += d * d;
        all += x * x;
    }
    return sqrt(apart / all);
}

static void compare_stats(const pair *p, const outcome *a, const outcome *b)
{
    const tolerances *t = tolerances_of(p->real);
    for (int64_t i = 0; i < a->layers; i++) {
        const double *x = a->stats + i * a->columns, *y = b->stats + i * a->columns;
        assert_true(x[BEAM_STAT_TOKENS] == y[BEAM_STAT_TOKENS]);
        require(p, "kept experts per token",
                fabs(x[BEAM_STAT_KEPT] - y[BEAM_STAT_KEPT]) / x[BEAM_STAT_TOKENS], t->kept);
        require(p, "soft masks", fabs(x[BEAM_STAT_SOFT] - y[BEAM_STAT_SOFT]) / x[BEAM_STAT_SOFT], t->soft);
        for (int64_t e = BEAM_STAT_EXPERTS; t->kept == 0 && e < a->columns; e++)
            assert_true(x[e] == y[e]);
    }
}

static void compare_outcomes(const pair *p, const outcome o[BOTH])
{
    const tolerances *t = tolerances_of(p->real);
    const double targets = (double)o[CPU].sums.targets, token = worst_token(&o[CPU], &o[DEVICE]);
    const double loss = fabs(o[CPU].sums.loss - o[DEVICE].sums.loss) / targets;
    const double gradient = gradient_error(&o[CPU], &o[DEVICE]);
    printf("%-20s %-4s loss %.1e  token losses %.1e  gradients %.1e\n", p->f[CPU].variant,
           beam_dtype_name(p->real), loss, token, gradient);
    require(p, "the loss", loss, t->loss);
    require(p, "a token's loss", token, t->token);
    require(p, "the gradient", gradient, t->gradient);
    compare_stats(p, &o[CPU], &o[DEVICE]);
}

static void compare(pair *p)
{
    outcome o[BOTH];
    for (int i = 0; i < BOTH; i++)
        o[i] = pass(p, i);
    compare_outcomes(p, o);
    for (int i = 0; i < BOTH; i++)
        free_outcome(&o[i]);
}

static void computes_what_the_processor_does(void **state)
{
    static const beam_dtype reals[] = {BEAM_F32, BEAM_BF16};
    for (int i = 0; i < 2; i++) {
        pair p;
        open_pair(&p, *state, reals[i], BEAM_SCOPE_MASKS, i == 1);
        compare(&p);
        if (reals[i] == BEAM_F32) {
            set_form(&p, BEAM_MASK_SOFT);
            compare(&p);
        }
        close_pair(&p);
    }
}

/* Every gradient, before and after an update. */
static void trains_everything(void **state)
{
    pair p;
    beam_adamw_state optimizer;
    open_pair(&p, *state, BEAM_F32, BEAM_SCOPE_ALL, false);
    compare(&p);
    for (int i = 0; i < BOTH; i++) {
        beam_backend *be = &p.f[i].be;
        hf_need(beam_adamw_open_whole(&optimizer, beam_model_params(p.m[i]), beam_model_grads(p.m[i]), be));
        beam_adamw_step(&optimizer, be,
                        &(beam_adamw_args){.learning_rate = 1e-3,
                                           .beta1 = 0.9,
                                           .beta2 = 0.95,
                                           .epsilon = 1e-8,
                                           .weight_decay = 0.1,
                                           .grad_scale = 1,
                                           .step = 1});
        beam_adamw_close(&optimizer, be);
    }
    compare(&p);
    close_pair(&p);
}

/* Bit for bit. */
static void repeats(void **state)
{
    const int times = *(const int *)*state;
    pair p;
    open_pair(&p, "qwen3_moe", BEAM_BF16, BEAM_SCOPE_MASKS, false);
    outcome first = pass(&p, DEVICE);
    for (int i = 1; i < times; i++) {
        outcome again = pass(&p, DEVICE);
        assert_memory_equal(again.token, first.token, (size_t)first.tokens * sizeof *first.token);
        assert_memory_equal(again.gradient, first.gradient, (size_t)first.numbers * sizeof *first.gradient);
        assert_memory_equal(again.stats, first.stats,
                            (size_t)(first.layers * first.columns) * sizeof *first.stats);
        free_outcome(&again);
    }
    free_outcome(&first);
    close_pair(&p);
}

enum { STEPS = 3, KEYS = 16 };

/* A run's losses, and how often each step waited for the device. */
static void run(const char *name, const char *const keys[], double loss[STEPS], int64_t waits[STEPS])
{
    beam_comm alone;
    beam_trainer t;
    beam_step_result r;
    const beam_config c = tiny_run_config(name, keys);
    hf_need(beam_comm_open(&alone));
    hf_need(beam_trainer_open(&t, &c, &alone));
    for (int i = 0; i < STEPS; i++) {
        const int64_t before = t.backend.waits;
        hf_need(beam_trainer_step(&t, &r));
        assert_false(r.skipped);
        loss[i] = r.loss;
        waits[i] = t.backend.waits - before;
    }
    beam_trainer_close(&t);
    beam_comm_close(&alone);
}

/* `keys` with another backend; each step waits `extra` times beyond once per micro-batch and once more. */
static void follows(const char *const keys[], const char *bf16, double tolerance, int64_t extra)
{
    const char *cpu[KEYS] = {"backend=cpu", "cutoff_len=8", "per_device_train_batch_size=1"},
               *device[KEYS] = {"backend=cuda", "cutoff_len=8", "per_device_train_batch_size=1", bf16};
    double want[STEPS], got[STEPS], worst = 0;
    int64_t waits[STEPS];
    for (int i = 0; keys[i]; i++)
        cpu[i + 3] = device[i + 4] = keys[i];
    run("cpu", cpu, want, waits);
    run("device", device, got, waits);
    for (int i = 0; i < STEPS; i++) {
        const double error = fabs(got[i] - want[i]);
        worst = !(error <= worst) ? error : worst;
        assert_int_equal(waits[i], 2 + 1 + extra); /* gradient_accumulation_steps is 2 */
    }
    printf("%s, %s ...: losses %.4f to %.4f, at most %.1e apart\n", bf16, keys[0], want[0], want[STEPS - 1],
           worst);
    assert_true(worst <= tolerance);
}

static const char *const terms[] = {"trainable=masks",      "distill.weight=0.5",   "mask.union_penalty=0.5",
                                    "mask.union_batch=8",   "mask.give_back=true",  "packing=false",
                                    "mask.target_active=2", "mask.penalty_norm=l2", NULL},
                         *const routers[] = {"trainable=masks+router", "router_aux_loss_coef=0.01",
                                             "distill.weight=0.3", NULL},
                         *const all[] = {"trainable=all", "gradient_checkpointing=true", NULL};

static void training_follows_in_f32(void **state)
{
    (void)state;
    follows(terms, "bf16=false", 1e-4, 0);
    follows(routers, "bf16=false", 1e-4, 2); /* the load of experts, before each backward pass */
    follows(all, "bf16=false", 1e-3, 0);
}

static void training_follows_in_bf16(void **state)
{
    (void)state;
    follows(terms, "bf16=true", 0.05, 0); /* the processor's weights are not rounded here */
    follows(all, "bf16=true", 0.02, 0);
}

/* Opens the model of a run, where another device or type of element computes. */
static void opens(const char *run, beam_backend_kind kind, beam_bf16_use bf16)
{
    beam_backend be;
    beam_model *m;
    beam_run_info info;
    hf_need(beam_open_backend(kind, bf16, NULL, 1, &be));
    hf_need(beam_model_source_run(run, 8, &be, &m, &info));
    beam_model_close(m);
    beam_backend_close(&be);
}

/* Resumed in bf16, a run has the bits of one that nobody stopped; and its model opens anywhere. */
static void runs_in_bf16_are_kept(void **state)
{
    (void)state;
    static const char *const trainable[] = {"trainable=masks", "trainable=all"};
    for (int i = 0; i < 2; i++) {
        const char *const keys[] = {"backend=cuda",
                                    "bf16=true",
                                    "cutoff_len=8",
                                    "per_device_train_batch_size=1",
                                    "max_steps=3",
                                    "eval_dataset=null",
                                    "eval_steps=0",
                                    trainable[i],
                                    NULL};
        const beam_config whole = tiny_run_config(i ? "all" : "masks", keys),
                          parts = tiny_run_config(i ? "all_parts" : "masks_parts", keys);
        tiny_run_expect(&whole, 0, BEAM_OK);
        tiny_run_expect(&parts, 2, BEAM_STOPPED);
        tiny_run_expect(&parts, 0, BEAM_OK);
        tiny_run_same(&whole, &parts);
        opens(whole.output_dir, BEAM_BACKEND_CUDA, BEAM_BF16_ON);
        opens(whole.output_dir, BEAM_BACKEND_CUDA, BEAM_BF16_OFF);
        opens(whole.output_dir, BEAM_BACKEND_CPU, BEAM_BF16_OFF);
    }
}

int main(int argc, char **argv)
{
    static int times = 2;
    if (beam_cuda_devices(NULL, 0) == 0) {
        printf("skipped: no CUDA device\n");
        return 77;
    }
    if (argc > 1)
        times = atoi(argv[1]);
    const struct CMUnitTest tests[] = {
        HF_TEST_VARIANTS(computes_what_the_processor_does), HF_TEST_VARIANTS(trains_everything),
        {"repeats", repeats, NULL, NULL, &times},           cmocka_unit_test(training_follows_in_f32),
        cmocka_unit_test(training_follows_in_bf16),         cmocka_unit_test(runs_in_bf16_are_kept),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, tiny_run_open, scratch_close);
}
