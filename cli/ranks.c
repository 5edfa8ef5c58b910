#include "cli/ranks.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/quantity.h"
#include "core/quote.h"
#include "train/source.h"

/* Bytes that a rank sends to the others: parts of equal size, of whole elements. The first is one element to
 * each, whose time is the latency. */
static int64_t part_of(int i, int size)
{
    static const int64_t mib[BEAM_RANK_SIZES] = {0, 1, 4, 16, 64};
    const int64_t part = (mib[i] << 20) / (size - 1) / 4 * 4;
    return part > 0 ? part : 4;
}

static beam_status measure(beam_comm *c, beam_ranks *r)
{
    for (int i = 0; i < BEAM_RANK_SIZES; i++) {
        const int64_t part = part_of(i, c->size);
        BEAM_TRY(beam_survey_exchange(c, part, &r->seconds[i]));
        r->bytes[i] = part * (c->size - 1);
    }
    return BEAM_OK;
}

beam_status beam_ranks_look(beam_comm *c, beam_ranks *r)
{
    *r = (beam_ranks){.size = c->size};
    BEAM_TRY(beam_comm_verdict(c, beam_open_backend(BEAM_BACKEND_AUTO, BEAM_BF16_AUTO, c, 0, &r->backend)));
    BEAM_TRY(beam_comm_attach(c, &r->backend));
    r->transport = c->ops->name;
    r->facts = calloc((size_t)c->size, sizeof *r->facts);
    BEAM_TRY(beam_comm_verdict(c, r->facts ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for a table")));
    BEAM_TRY(beam_survey_look(c, &r->backend, r->facts));
    r->warnings = beam_survey_judge(r->facts, c->size, r->warning);
    return measure(c, r);
}

void beam_ranks_free(beam_ranks *r)
{
    free(r->facts);
    if (r->backend.ops)
        beam_backend_close(&r->backend);
    *r = (beam_ranks){0};
}

static int count_hosts(const beam_ranks *r)
{
    int hosts = 0;
    for (int i = 0; i < r->size; i++) {
        bool seen = false;
        for (int j = 0; j < i; j++)
            seen = seen || strcmp(r->facts[i].host, r->facts[j].host) == 0;
        hosts += !seen;
    }
    return hosts;
}

static void print_exchange(const beam_ranks *r)
{
    beam_quantity q;
    printf("\nexchange of every rank with all others, every bit checked\n");
    printf("latency      %.1f us\n", 1e6 * r->seconds[0]);
    for (int i = 1; i < BEAM_RANK_SIZES; i++)
        printf("%-12s %.2f ms, %.2f GB/s out of each rank\n", beam_quantity_bytes(&q, (double)r->bytes[i]),
               1e3 * r->seconds[i], 1e-9 * (double)r->bytes[i] / r->seconds[i]);
}

void beam_ranks_print(const beam_ranks *r)
{
    const int hosts = count_hosts(r);
    printf("\n%d ranks on %d host%s, over %s, %s\n", r->size, hosts, hosts == 1 ? "" : "s", r->transport,
           r->facts[0].mpi[0] ? r->facts[0].mpi : "MPI's library unknown");
    printf("rank  host              process  device  threads  clock/ms          program   cores\n");
    for (int i = 0; i < r->size; i++) {
        const beam_rank_facts *f = &r->facts[i];
        char clock[32];
        snprintf(clock, sizeof clock, "%+.2f +- %.2f", 1e3 * f->clock, 1e3 * f->clock_error);
        printf("%4d  %-16s %8" PRId64 "  %-6s  %7" PRId64 "  %-16s  %08x  %s\n", i, f->host, f->pid,
               f->device, f->threads, clock, (unsigned)(f->program >> 32), f->cpus);
    }
    print_exchange(r);
    for (int i = 0; i < r->warnings; i++)
        printf("%swarning: %s\n", i == 0 ? "\n" : "", r->warning[i]);
}

static void put_rank(const beam_rank_facts *f)
{
    char program[20];
    beam_printer one = beam_print_open(stdout);
    snprintf(program, sizeof program, "%016" PRIx64, f->program);
    beam_print_text(&one, "host", f->host);
    beam_print_i64(&one, "process", f->pid);
    beam_print_text(&one, "device", f->device);
    beam_print_i64(&one, "threads", f->threads);
    beam_print_text(&one, "cores", f->cpus);
    beam_print_f64(&one, "clock_ahead_s", f->clock);
    beam_print_f64(&one, "clock_error_s", f->clock_error);
    beam_print_text(&one, "program", program);
    beam_print_text(&one, "mpi", f->mpi);
    beam_print_close(&one);
}

void beam_ranks_put(const beam_ranks *r, beam_printer *p)
{
    beam_print_key(p, "ranks");
    for (int i = 0; i < r->size; i++) {
        putchar(i == 0 ? '[' : ',');
        put_rank(&r->facts[i]);
    }
    putchar(']');
    beam_print_text(p, "transport", r->transport);
    beam_print_key(p, "exchange");
    for (int i = 0; i < BEAM_RANK_SIZES; i++) {
        putchar(i == 0 ? '[' : ',');
        beam_printer one = beam_print_open(stdout);
        beam_print_i64(&one, "bytes", r->bytes[i]);
        beam_print_f64(&one, "seconds", r->seconds[i]);
        beam_print_close(&one);
    }
    putchar(']');
    beam_print_key(p, "warnings");
    putchar('[');
    for (int i = 0; i < r->warnings; i++) {
        if (i > 0)
            putchar(',');
        beam_print_quoted(stdout, r->warning[i]);
    }
    putchar(']');
}
