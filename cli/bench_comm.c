/* beam bench comm: what the ranks of a job send each other in a training step. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/bench.h"
#include "cli/job.h"
#include "cli/opened.h"
#include "cli/printer.h"
#include "cli/quantity.h"
#include "train/bench_comm.h"
#include "train/flops.h"
#include "train/source.h"

typedef struct {
    const char *model, *trainable;
    int64_t steps, limit, threads; /* limit: MiB */
    int64_t ranks, tokens, sequence;
    double active, link, tflops, seconds; /* 0: not given */
    bool json;
} asked;

typedef struct {
    int64_t numbers, bytes; /* of the model's gradients */
    int64_t block;          /* bytes of what was measured */
    beam_bench_comm_result plain, hidden;
    double backward; /* seconds of the pass that `hidden` hides behind */
    double ratio;    /* bytes sent over the least possible */
} measured;

typedef struct {
    double sent;       /* bytes of a rank */
    double comm, step; /* seconds; step is 0 if unknown */
    double active;     /* experts kept per token */
    double flops;      /* of a token */
} projected;

static beam_status scope_of(const char *name, beam_scope *out)
{
    static const char *const names[] = {
        [BEAM_SCOPE_MASKS] = "masks", [BEAM_SCOPE_ROUTERS] = "masks+router", [BEAM_SCOPE_ALL] = "all"};
    for (int s = BEAM_SCOPE_MASKS; s <= BEAM_SCOPE_ALL; s++)
        if (strcmp(name, names[s]) == 0) {
            *out = (beam_scope)s;
            return BEAM_OK;
        }
    return BEAM_FAIL(BEAM_ECONFIG, "--trainable %.40s: expected masks, masks+router or all", name);
}

static beam_status check(const asked *a)
{
    if (a->steps < 1 || a->steps > BEAM_BENCH_STEPS || a->limit < 1 || a->limit > 1 << 20)
        return BEAM_FAIL(BEAM_ECONFIG, "bench comm: --steps must be 1 to %d, --limit-mib 1 to 1048576",
                         BEAM_BENCH_STEPS);
    BEAM_TRY(beam_check_threads(a->threads));
    if (a->ranks < 0 || a->tokens < 1 || a->sequence < 1 || a->active < 0 || a->link < 0 || a->tflops < 0 ||
        a->seconds < 0)
        return BEAM_FAIL(BEAM_ECONFIG, "bench comm: numbers must be positive");
    if (a->link == 0 && (a->ranks > 0 || a->tflops > 0 || a->seconds > 0))
        return BEAM_FAIL(BEAM_ECONFIG, "bench comm: to calculate, --link-gbs is needed too");
    if (a->tflops > 0 && a->seconds > 0)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "bench comm: --tflops and --step-seconds both give the time of a step; "
                         "keep one");
    return BEAM_OK;
}

/* Bytes of all gradients as one block, without its memory. */
static beam_status count_gradients(const beam_model_config *config, beam_scope scope, beam_dtype real,
                                   measured *m)
{
    beam_model_weights w;
    size_t values, grads;
    BEAM_TRY(beam_model_weights_list(&w, config, scope, real));
    beam_model_weights_measure(&w, &values, &grads);
    beam_model_weights_unlist(&w);
    m->bytes = (int64_t)grads;
    m->numbers = m->bytes / (int64_t)beam_dtype_size(beam_wide_of(real));
    return BEAM_OK;
}

/* First with everything final at once; then behind a backward pass long enough to hide all of it. */
static beam_status measure(beam_comm *c, const asked *a, int pieces, measured *m)
{
    const int64_t most = a->limit << 20;
    m->block = m->bytes < most ? m->bytes : most;
    m->ratio = 1;
    if (c->size == 1)
        return BEAM_OK;
    beam_bench_comm_options o = {
        .elements = m->block / (int64_t)sizeof(float), .pieces = 1, .steps = (int)a->steps};
    BEAM_TRY(beam_bench_comm(c, &o, &m->plain));
    o.pieces = pieces;
    o.backward = m->backward = 2 * m->plain.sum;
    BEAM_TRY(beam_bench_comm(c, &o, &m->hidden));
    m->ratio = (double)m->plain.sent / beam_bench_comm_least(m->block, c->size);
    return BEAM_OK;
}

static projected project(const asked *a, const measured *m, const beam_model_config *config, beam_scope scope)
{
    const double active = a->active > 0 ? a->active : (double)config->top_k;
    const beam_flops f = beam_flops_of(config, scope, (double)a->sequence, active);
    projected p = {.active = active,
                   .sent = m->ratio * beam_bench_comm_least(m->bytes, a->ranks),
                   .flops = f.forward + f.backward};
    p.comm = p.sent / (1e9 * a->link);
    p.step = a->tflops > 0 ? (double)a->tokens * p.flops / (1e12 * a->tflops) : a->seconds;
    return p;
}

static double share_of(const projected *p)
{
    return p->comm / (p->comm + p->step);
}

/* Of the sum, behind the backward pass. */
static double hidden_share(const measured *m)
{
    const double share = 1 - m->hidden.sum / m->plain.sum;
    return share > 0 ? share < 1 ? share : 1 : 0;
}

static void print_measured(const beam_comm *c, const asked *a, const measured *m)
{
    beam_quantity q;
    printf("\n");
    if (c->size == 1) {
        printf("measured: nothing, since a process alone sends nothing; start it with mpirun\n");
        return;
    }
    const double t = m->plain.sum + m->plain.gather;
    printf("measured: %d ranks over %s, medians of %" PRId64 " steps, sums checked\n", c->size, c->ops->name,
           a->steps);
    printf("  block          %s%s\n", beam_quantity_bytes(&q, (double)m->block),
           m->block < m->bytes ? ", a part (--limit-mib)" : ", all gradients");
    printf("  sum            %.2f ms, everything final at once\n", 1e3 * m->plain.sum);
    printf("  sum, hidden    %.2f ms remain beside a backward pass of %.2f ms: %.0f %% hidden\n",
           1e3 * m->hidden.sum, 1e3 * m->backward, 100 * hidden_share(m));
    printf("  gather         %.2f ms\n", 1e3 * m->plain.gather);
    printf("  sent per rank  %s per step: %.4f of the least possible, 2 (N - 1) / N of the block\n",
           beam_quantity_bytes(&q, (double)m->plain.sent), m->ratio);
    printf("  rate           %.2f GB/s out of each rank, sum and gather\n", 1e-9 * (double)m->plain.sent / t);
}

static void print_projected(const asked *a, const measured *m, const projected *p)
{
    beam_quantity q;
    printf("\narithmetic, not measured: %" PRId64 " ranks, links of %g GB/s out of each\n", a->ranks,
           a->link);
    printf("  sent per rank  %s per step: 2 (N - 1) / N of all gradients, times %.4f (above; 1 where nothing "
           "is measured)\n",
           beam_quantity_bytes(&q, p->sent), m->ratio);
    printf("  communication  %.3f ms per step: sent / link, without latency, nothing hidden\n",
           1e3 * p->comm);
    if (p->step <= 0)
        return;
    printf("  computation    %.1f ms per step: ", 1e3 * p->step);
    if (a->tflops > 0)
        printf("%" PRId64 " tokens per rank, %s each with %g experts kept, at %g TFLOP/s\n", a->tokens,
               beam_quantity_flops(&q, p->flops), p->active, a->tflops);
    else
        printf("as given\n");
    printf("  share          %.3f %% of a step is communication\n", 100 * share_of(p));
}

static void put_measured(beam_printer *p, const beam_comm *c, const measured *m)
{
    beam_print_key(p, "measured");
    beam_printer one = beam_print_open(stdout);
    beam_print_i64(&one, "ranks", c->size);
    beam_print_text(&one, "transport", c->ops->name);
    beam_print_i64(&one, "block_bytes", m->block);
    beam_print_f64(&one, "sum_s", m->plain.sum);
    beam_print_f64(&one, "backward_s", m->backward);
    beam_print_f64(&one, "sum_exposed_s", m->hidden.sum);
    beam_print_f64(&one, "gather_s", m->plain.gather);
    beam_print_i64(&one, "sent_bytes", m->plain.sent);
    beam_print_f64(&one, "of_least_possible", m->ratio);
    beam_print_close(&one);
}

static void put_projected(beam_printer *p, const asked *a, const projected *x)
{
    beam_print_key(p, "arithmetic");
    beam_printer one = beam_print_open(stdout);
    beam_print_i64(&one, "ranks", a->ranks);
    beam_print_f64(&one, "link_gb_per_s", a->link);
    beam_print_f64(&one, "sent_bytes", x->sent);
    beam_print_f64(&one, "communication_s", x->comm);
    if (x->step > 0) {
        beam_print_f64(&one, "computation_s", x->step);
        beam_print_f64(&one, "share_of_step", share_of(x));
    }
    beam_print_close(&one);
}

static void print(const beam_comm *c, const asked *a, const measured *m, const projected *p)
{
    beam_quantity digits, bytes;
    const char *model = a->model ? a->model : "the small model of beam bench";
    if (!a->json) {
        printf("%s, trainable %s: %s numbers train, %s of gradients\n", model, a->trainable,
               beam_quantity_digits(&digits, m->numbers), beam_quantity_bytes(&bytes, (double)m->bytes));
        print_measured(c, a, m);
        if (a->link > 0)
            print_projected(a, m, p);
        return;
    }
    beam_printer out = beam_print_open(stdout);
    beam_print_text(&out, "model", model);
    beam_print_text(&out, "trainable", a->trainable);
    beam_print_i64(&out, "gradient_bytes", m->bytes);
    if (c->size > 1)
        put_measured(&out, c, m);
    if (a->link > 0)
        put_projected(&out, a, p);
    beam_print_end(&out);
}

static beam_status run(beam_comm *c, beam_backend *be, asked *a)
{
    beam_model_config config;
    beam_scope scope = BEAM_SCOPE_MASKS;
    measured m = {0};
    BEAM_TRY(beam_comm_verdict(c, scope_of(a->trainable, &scope)));
    BEAM_TRY(beam_comm_verdict(c, beam_bench_shape(a->model, &config)));
    BEAM_TRY(beam_comm_verdict(c, count_gradients(&config, scope, be->real, &m)));
    BEAM_TRY(beam_comm_attach(c, be));
    BEAM_TRY(measure(c, a, (int)config.layers, &m));
    a->ranks = a->ranks > 0 ? a->ranks : c->size;
    const projected p = project(a, &m, &config, scope);
    if (c->rank == 0)
        print(c, a, &m, &p);
    return BEAM_OK;
}

static beam_status run_job(asked *a)
{
    beam_comm c;
    beam_backend be = {0};
    BEAM_TRY(beam_comm_open(&c));
    beam_status s =
        beam_comm_verdict(&c, beam_open_backend(BEAM_BACKEND_AUTO, BEAM_BF16_AUTO, &c, a->threads, &be));
    if (!s)
        s = run(&c, &be, a);
    s = beam_job_end(&c, "bench", s);
    if (be.ops)
        beam_backend_close(&be);
    return s;
}

beam_status beam_bench_ranks(int argc, char **argv)
{
    asked a = {.trainable = "masks", .steps = 5, .limit = 256, .tokens = 32768, .sequence = 4096};
    const beam_option options[] = {
        {"model", BEAM_TEXT, &a.model, "DIR",
         "a model folder or random:<config.json>; its weights are not read"},
        {"trainable", BEAM_TEXT, &a.trainable, "WHAT", "masks (default), masks+router or all"},
        {"steps", BEAM_INT, &a.steps, "N", "timed steps, at most 64; the median counts (default: 5)"},
        {"limit-mib", BEAM_INT, &a.limit, "N",
         "measure with at most so many MiB of gradients (default: 256)"},
        {"threads", BEAM_INT, &a.threads, "N", "default: all cores"},
        {"link-gbs", BEAM_REAL, &a.link, "X", "calculate for links of X GB/s (10^9 bytes) out of each rank"},
        {"ranks", BEAM_INT, &a.ranks, "N", "calculate for N ranks (default: those that were started)"},
        {"tflops", BEAM_REAL, &a.tflops, "X", "a rank computes X TFLOP/s: gives the time of a step"},
        {"tokens", BEAM_INT, &a.tokens, "N", "of a rank in a step, with --tflops (default: 32768)"},
        {"sequence", BEAM_INT, &a.sequence, "N", "tokens of a row, with --tflops (default: 4096)"},
        {"active", BEAM_REAL, &a.active, "X", "experts kept per token, with --tflops (default: all K)"},
        {"step-seconds", BEAM_REAL, &a.seconds, "X", "or: the time of a step without communication"},
        {"json", BEAM_FLAG, &a.json, NULL, "print one JSON object"},
    };
    const beam_command command = {
        .synopsis = "bench comm",
        .about =
            "Under mpirun or srun: times what a training step sends between ranks, for the gradients of a "
            "model of\n"
            "any size without its weights: the sum over ranks, also behind a backward pass that only passes "
            "time,\n"
            "and the gathering of the updated parameters. Counts the bytes beside the least possible.\n\n"
            "With --link-gbs it also calculates, from the bytes, what a step would spend on another network; "
            "what\n"
            "was measured and what is arithmetic stand apart.",
        .examples =
            "  scripts/launch/one_node.sh -n 2 beam bench comm\n"
            "  scripts/launch/one_node.sh -n 2 beam bench comm --model random:Qwen3-30B-A3B/config.json "
            "\\\n"
            "      --link-gbs 12.5 --ranks 64 --tflops 400",
        .options = options,
        .n = sizeof options / sizeof *options,
    };
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    BEAM_TRY(check(&a));
    return run_job(&a);
}
