#include "model/expert_parallel.h"

#include <stdlib.h>
#include <string.h>

/* Rows that a rank may send another at a time, as a multiple of what it would if all experts were wanted
 * alike: little is gained by more, and the owner needs memory for P times as many. */
enum { SLACK = 2 };

/* Of the comm's exchanges, those that sums of gradients leave free. */
enum { SLOT = BEAM_SUM_SLOTS, SECOND_SLOT };

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

beam_status beam_expert_parallel_share(beam_expert_parallel *ep, beam_model_config *c, int ranks,
                                       beam_comm *comm, int64_t tokens)
{
    const int64_t held = c->experts / ranks;
    if (c->experts % ranks)
        return BEAM_FAIL(BEAM_ECONFIG, "expert_parallel: %d ranks cannot share %lld experts evenly", ranks,
                         (long long)c->experts);
    if (comm && comm->size % ranks)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "expert_parallel: the %d ranks of this job do not form groups of %d: start a "
                         "multiple of %d",
                         comm->size, ranks, ranks);
    c->expert_ranks = ranks;
    c->expert_rank = comm ? comm->rank % ranks : 0;
    *ep = (beam_expert_parallel){.comm = comm, .pairs = tokens * c->top_k};
    ep->plan = (beam_expert_plan){.ranks = ranks, .rank = (int)c->expert_rank, .experts = c->experts};
    ep->plan.most = least((SLACK * ep->pairs + ranks - 1) / ranks, tokens * least(c->top_k, held));
    if (ranks * ep->plan.most > INT32_MAX)
        return BEAM_FAIL(BEAM_ECONFIG, "expert_parallel: micro-batches of %lld tokens are too large",
                         (long long)tokens);
    return BEAM_OK;
}

/* Rows that a rank may receive at a time. */
static int64_t capacity(const beam_expert_parallel *ep)
{
    return ep->plan.ranks * ep->plan.most;
}

beam_status beam_expert_parallel_open(beam_expert_parallel *ep)
{
    const size_t e = (size_t)ep->plan.experts, all = (size_t)ep->comm->size, p = (size_t)ep->plan.ranks;
    const int64_t rows = ep->pairs > capacity(ep) ? ep->pairs : capacity(ep);
    ep->counts = malloc(all * 2 * e * sizeof *ep->counts);
    ep->mine = malloc(2 * e * sizeof *ep->mine);
    ep->first = malloc((e + 1) * sizeof *ep->first);
    ep->kept = malloc(e * sizeof *ep->kept);
    ep->index = malloc((size_t)rows * sizeof *ep->index);
    ep->inverse = malloc((size_t)rows * sizeof *ep->inverse);
    ep->from_count = calloc(all, sizeof *ep->from_count);
    ep->to_count = calloc(all, sizeof *ep->to_count);
    ep->plan.list = malloc(p * sizeof *ep->plan.list);
    ep->plan.next = malloc(p * sizeof *ep->plan.next);
    if (!ep->counts || !ep->mine || !ep->first || !ep->kept || !ep->index || !ep->inverse ||
        !ep->from_count || !ep->to_count || !ep->plan.list || !ep->plan.next)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the routes of %lld pairs", (long long)rows);
    return BEAM_OK;
}

void beam_expert_parallel_close(beam_expert_parallel *ep)
{
    free(ep->counts);
    free(ep->mine);
    free(ep->first);
    free(ep->kept);
    free(ep->index);
    free(ep->inverse);
    free(ep->from_count);
    free(ep->to_count);
    free(ep->plan.list);
    free(ep->plan.next);
    *ep = (beam_expert_parallel){0};
}

/* A permutation of rows and its inverse: y[i] = x[index[i]], x[j] = y[inverse[j]]. */
typedef struct {
    beam_tensor index, inverse; /* i32 */
} order;

/* One layer's rows on their way. */
typedef struct {
    const beam_pass *pass;
    beam_expert_parallel *ep;
    int64_t rounds, rows; /* of this layer; rows that this rank sends in all of them */
    int64_t begin;        /* the first that it sends in this round */
    order out, in;        /* from the grouped order to that of sending [R]; from that of receiving to that of
                             the experts held [capacity] */
    beam_route held;      /* the groups of the experts held: first, kept */
} trip;

static order push_order(beam_arena *a, int64_t n)
{
    return (order){.index = beam_push(a, BEAM_I32, BEAM_DIMS(n)),
                   .inverse = beam_push(a, BEAM_I32, BEAM_DIMS(n))};
}

/* Uploads both directions, of n and m entries. */
static void put_order(const trip *t, const order *o, int64_t n, int64_t m)
{
    beam_upload(t->pass->be, beam_rows(o->index, 0, n), t->ep->index);
    beam_upload(t->pass->be, beam_rows(o->inverse, 0, m), t->ep->inverse);
}

/* Whether the comm works; if not, the backend does not either from now on. */
static bool works(const trip *t)
{
    beam_backend *be = t->pass->be;
    if (!be->status)
        be->status = t->ep->comm->status;
    return !be->status;
}

/* Ranks with other bounds would count other rounds, and wait for each other without an end. */
static void agree(const trip *t)
{
    beam_expert_parallel *ep = t->ep;
    beam_backend *be = t->pass->be;
    if (!be->status)
        be->status = beam_comm_agree(ep->comm, "expert_parallel", (uint64_t)ep->plan.ranks);
    if (!be->status)
        be->status = beam_comm_agree(ep->comm, "the tokens of a micro-batch times its experts per token",
                                     (uint64_t)ep->pairs);
    ep->agreed = !be->status;
}

/* Everyone's counts for this layer. */
static void count_rows(trip *t, const beam_expert_rows *r)
{
    beam_expert_parallel *ep = t->ep;
    beam_expert_plan *plan = &ep->plan;
    const int64_t e = plan->experts;
    if (!ep->agreed)
        agree(t);
    beam_download(t->pass->be, ep->first, r->route->first);
    beam_download(t->pass->be, ep->kept, r->route->kept);
    if (beam_sync(t->pass->be))
        return;
    for (int64_t i = 0; i < e; i++) {
        ep->mine[2 * i] = r->rows == BEAM_ROWS_DROPPED ? 0 : ep->kept[i];
        ep->mine[2 * i + 1] = r->rows == BEAM_ROWS_KEPT ? 0 : ep->first[i + 1] - ep->first[i] - ep->kept[i];
    }
    beam_comm_host_gather(ep->comm, ep->mine, ep->counts, 2 * (size_t)e * sizeof *ep->mine);
    if (!works(t))
        return;
    for (int first = 0; first < ep->comm->size; first += plan->ranks) { /* every group: all exchange alike */
        plan->count = ep->counts + 2 * e * first;
        const int64_t rounds = beam_expert_plan_rounds(plan);
        t->rounds = rounds > t->rounds ? rounds : t->rounds;
    }
    plan->count = ep->counts + 2 * e * (ep->comm->rank - plan->rank);
}

/* Without a working backend nothing moves, but scratch is taken as for the largest pass: so it is measured.
 */
static trip begin(const beam_pass *p, const beam_expert_rows *r)
{
    beam_expert_parallel *ep = p->parallel;
    const int64_t held = ep->plan.experts / ep->plan.ranks, pairs = r->x.dim[0];
    BEAM_ASSERT(pairs <= ep->pairs);
    trip t = {.pass = p, .ep = ep};
    t.out = push_order(p->scratch, pairs);
    t.in = push_order(p->scratch, capacity(ep));
    t.held.first = beam_push(p->scratch, BEAM_I32, BEAM_DIMS(held + 1));
    t.held.kept = beam_push(p->scratch, BEAM_I32, BEAM_DIMS(held));
    if (!p->be->status)
        count_rows(&t, r);
    if (p->be->status) {
        t.rounds = 1;
        return t;
    }
    memset(ep->inverse, 0, (size_t)pairs * sizeof *ep->inverse); /* rows that stay home get any row back */
    t.rows = beam_expert_plan_send(&ep->plan, ep->first, ep->kept, ep->index, ep->inverse);
    put_order(&t, &t.out, t.rows, pairs);
    return t;
}

/* Rows between the grouped order and that of sending. */
static void pack(const trip *t, beam_tensor sent, beam_tensor grouped)
{
    beam_embed(t->pass->be, beam_rows(sent, 0, t->rows), grouped, beam_rows(t->out.index, 0, t->rows));
}

static void unpack(const trip *t, beam_tensor grouped, beam_tensor sent)
{
    if (t->rows > 0)
        beam_embed(t->pass->be, grouped, beam_rows(sent, 0, t->rows), t->out.inverse);
}

/* Rows that this rank sends in the round. */
static int64_t sent_rows(const trip *t, int64_t round)
{
    const beam_expert_plan *plan = &t->ep->plan;
    int64_t n = 0;
    for (int to = 0; to < plan->ranks && !t->pass->be->status; to++)
        n += beam_expert_plan_part(plan, plan->rank, to, round);
    return n;
}

/* The groups of the rows that this rank receives in the round; returns their number. */
static int64_t receive_order(trip *t, int64_t round)
{
    beam_expert_parallel *ep = t->ep;
    if (t->pass->be->status)
        return capacity(ep);
    const int64_t m = beam_expert_plan_receive(&ep->plan, round, ep->first, ep->kept, ep->index, ep->inverse);
    put_order(t, &t->in, m, m);
    beam_upload(t->pass->be, t->held.first, ep->first);
    beam_upload(t->pass->be, t->held.kept, ep->kept);
    return m;
}

/* The round's rows of `sent` to their owners' `received`, or back. */
static void start(const trip *t, int slot, int64_t round, beam_tensor sent, beam_tensor received, bool back)
{
    beam_expert_parallel *ep = t->ep;
    const beam_expert_plan *plan = &ep->plan;
    if (t->pass->be->status)
        return;
    int64_t *out = ep->from_count + (ep->comm->rank - plan->rank);
    int64_t *in = ep->to_count + (ep->comm->rank - plan->rank);
    for (int i = 0; i < plan->ranks; i++) {
        out[i] = beam_expert_plan_part(plan, plan->rank, i, round) * sent.dim[1];
        in[i] = beam_expert_plan_part(plan, i, plan->rank, round) * sent.dim[1];
    }
    const beam_tensor home = beam_rows(sent, t->begin, sent_rows(t, round));
    beam_comm_start(ep->comm, slot,
                    &(beam_exchange){.from = back ? received : home,
                                     .to = back ? home : received,
                                     .from_count = back ? ep->to_count : ep->from_count,
                                     .to_count = back ? ep->from_count : ep->to_count});
}

static void finish(const trip *t, int slot)
{
    if (t->pass->be->status)
        return;
    beam_comm_finish(t->ep->comm, slot);
    works(t);
}

static beam_tensor push_rows(const trip *t, int64_t rows, int64_t width)
{
    return beam_push(t->pass->scratch, t->pass->be->real, BEAM_DIMS(rows, width));
}

/* Room for the most rows that the experts held may be given at a time. */
static beam_expert_rows push_held(const trip *t, const beam_mlp_weights *w, int64_t width)
{
    const int64_t most = capacity(t->ep);
    return (beam_expert_rows){.x = push_rows(t, most, width),
                              .gate_up = push_rows(t, most, w->gate_up->value.dim[1])};
}

/* The first m rows of it. */
static beam_expert_rows held_rows(const trip *t, const beam_expert_rows *all, int64_t m)
{
    return (beam_expert_rows){.route = &t->held,
                              .rows = BEAM_ROWS_ALL,
                              .x = beam_rows(all->x, 0, m),
                              .gate_up = beam_rows(all->gate_up, 0, m)};
}

void beam_expert_parallel_forward(const beam_pass *p, const beam_mlp_weights *w, const beam_expert_rows *r,
                                  beam_tensor out)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    const int64_t width = r->x.dim[1];
    BEAM_ASSERT(!r->tokens.data);
    trip t = begin(p, r);
    beam_tensor sent = push_rows(&t, r->x.dim[0], width);
    beam_tensor received = push_rows(&t, capacity(t.ep), width);
    const beam_expert_rows held = push_held(&t, w, width);
    pack(&t, sent, r->x);
    for (int64_t round = 0; round < t.rounds; round++) {
        const int64_t m = receive_order(&t, round);
        const beam_tensor arrived = beam_rows(received, 0, m);
        const beam_expert_rows h = held_rows(&t, &held, m);
        start(&t, SLOT, round, sent, arrived, false);
        finish(&t, SLOT);
        beam_embed(be, h.x, arrived, beam_rows(t.in.index, 0, m));
        beam_experts_forward(p, w, &h, h.x);
        beam_embed(be, arrived, h.x, beam_rows(t.in.inverse, 0, m));
        start(&t, SLOT, round, sent, arrived, true);
        finish(&t, SLOT);
        t.begin += sent_rows(&t, round);
    }
    unpack(&t, out, sent);
    beam_release(p->scratch, mark);
}

/* A number of every row that is sent, one of every row that arrives, and those in the order of the experts
 * held. */
typedef struct {
    beam_tensor sent, arrived, held; /* wide [R,1] [capacity,1] [capacity,1] */
} row_numbers;

static row_numbers push_numbers(const trip *t, int64_t rows)
{
    beam_arena *a = t->pass->scratch;
    const beam_dtype wide = t->pass->be->wide;
    const int64_t most = capacity(t->ep);
    return (row_numbers){.sent = beam_push(a, wide, BEAM_DIMS(rows, 1)),
                         .arrived = beam_push(a, wide, BEAM_DIMS(most, 1)),
                         .held = beam_push(a, wide, BEAM_DIMS(most, 1))};
}

static beam_tensor column(beam_tensor t) /* [n] as [n,1] */
{
    return beam_reshape(t, BEAM_DIMS(t.dim[0], 1));
}

static beam_tensor numbers(beam_tensor t, int64_t n) /* the first n of [.,1] as [n] */
{
    return beam_reshape(beam_rows(t, 0, n), BEAM_DIMS(n));
}

/* The weights of the round's m rows. */
static beam_tensor receive_weights(const trip *t, const row_numbers *weight, int64_t round, int64_t m)
{
    const beam_tensor arrived = beam_rows(weight->arrived, 0, m);
    start(t, SLOT, round, weight->sent, arrived, false);
    finish(t, SLOT);
    beam_embed(t->pass->be, beam_rows(weight->held, 0, m), arrived, beam_rows(t->in.index, 0, m));
    return numbers(weight->held, m);
}

/* What became of the round's m rows, of which `held` are in the order of the experts. */
static void send_back(const trip *t, int slot, int64_t round, beam_tensor sent, beam_tensor arrived,
                      beam_tensor held)
{
    const int64_t m = arrived.dim[0];
    beam_embed(t->pass->be, arrived, held, beam_rows(t->in.inverse, 0, m));
    start(t, slot, round, sent, arrived, true);
}

void beam_expert_parallel_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_expert_rows *r,
                                   const beam_expert_grads *g)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    const int64_t pairs = r->x.dim[0], width = r->x.dim[1], most = capacity(p->parallel);
    const bool runs = g->weight.data != NULL;
    BEAM_ASSERT(!r->tokens.data && !g->tokens.data);
    trip t = begin(p, r);
    const beam_tensor sent_x = push_rows(&t, pairs, width), sent_d = push_rows(&t, pairs, width);
    const beam_tensor received_x = push_rows(&t, most, width), received_d = push_rows(&t, most, width);
    const beam_tensor held_d = push_rows(&t, most, width);
    const row_numbers weight = push_numbers(&t, pairs), dot = push_numbers(&t, pairs);
    const beam_expert_rows held = push_held(&t, w, width);
    pack(&t, sent_x, r->x);
    pack(&t, sent_d, g->d);
    if (runs)
        pack(&t, weight.sent, column(g->weight));
    for (int64_t round = 0; round < t.rounds; round++) {
        const int64_t m = receive_order(&t, round);
        const beam_tensor x = beam_rows(received_x, 0, m), d = beam_rows(received_d, 0, m);
        const beam_tensor index = beam_rows(t.in.index, 0, m);
        const beam_expert_rows h = held_rows(&t, &held, m);
        beam_expert_grads mine = {
            .d = beam_rows(held_d, 0, m), .dot = numbers(dot.held, m), .want_dx = g->want_dx};
        start(&t, SLOT, round, sent_x, x, false);
        start(&t, SECOND_SLOT, round, sent_d, d, false);
        finish(&t, SLOT);
        finish(&t, SECOND_SLOT);
        if (runs)
            mine.weight = receive_weights(&t, &weight, round, m);
        beam_embed(be, h.x, x, index);
        beam_embed(be, mine.d, d, index);
        beam_experts_hidden(be, w, &h);
        beam_experts_backward(p, w, &h, &mine);
        send_back(&t, SLOT, round, dot.sent, beam_rows(dot.arrived, 0, m), column(mine.dot));
        finish(&t, SLOT);
        if (runs && g->want_dx) {
            send_back(&t, SLOT, round, sent_d, d, mine.d);
            finish(&t, SLOT);
        }
        t.begin += sent_rows(&t, round);
    }
    unpack(&t, column(g->dot), dot.sent);
    if (runs && g->want_dx)
        unpack(&t, g->d, sent_d);
    beam_release(p->scratch, mark);
}
