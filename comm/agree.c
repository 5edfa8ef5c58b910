/* What all ranks must agree on before they go on together. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/comm.h"

/* What a rank tells the others about its try. */
typedef struct {
    int32_t status;
    char message[508];
} verdict;

enum { LISTED = 8 }; /* ranks and values that a message names */

static void *gather(beam_comm *c, const void *mine, size_t bytes)
{
    void *all = calloc((size_t)c->size, bytes);
    if (all)
        beam_comm_host_gather(c, mine, all, bytes);
    else /* the other ranks wait: the comm is of no use any more */
        c->status = BEAM_FAIL(BEAM_ENOMEM, "no memory to hear %d ranks", c->size);
    return all;
}

beam_status beam_comm_verdict(beam_comm *c, beam_status mine)
{
    if (c->size == 1 || (c->status && mine))
        return mine;
    verdict own = {.status = (int32_t)mine};
    if (mine)
        snprintf(own.message, sizeof own.message, "%s", beam_last_error());
    verdict *all = gather(c, &own, sizeof own);
    beam_status s = c->status;
    for (int r = 0; r < c->size && !s; r++)
        if (all[r].status)
            s = BEAM_FAIL(all[r].status, "rank %d: %s", r, all[r].message);
    free(all);
    return s;
}

typedef struct {
    char text[1024];
    size_t used;
} line;

__attribute__((format(printf, 2, 3))) static void append(line *l, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(l->text + l->used, sizeof l->text - l->used, fmt, args);
    va_end(args);
    if (n > 0)
        l->used += (size_t)n < sizeof l->text - l->used ? (size_t)n : sizeof l->text - l->used - 1;
}

/* "rank 1 holds 0x5" or "ranks 0, 2 and 3 hold 0x4". */
static void append_holders(line *l, const uint64_t *all, int size, uint64_t value)
{
    int holders = 0, named = 0;
    for (int r = 0; r < size; r++)
        holders += all[r] == value;
    append(l, holders == 1 ? "rank " : "ranks ");
    for (int r = 0; r < size && named < LISTED; r++)
        if (all[r] == value) {
            const char *before = named == 0 ? "" : named + 1 == holders ? " and " : ", ";
            append(l, "%s%d", before, r);
            named++;
        }
    if (named < holders)
        append(l, " and %d more", holders - named);
    append(l, " %s 0x%" PRIx64, holders == 1 ? "holds" : "hold", value);
}

/* True for the lowest rank that holds this rank's value. */
static bool is_first(const uint64_t *all, int rank)
{
    for (int r = 0; r < rank; r++)
        if (all[r] == all[rank])
            return false;
    return true;
}

static beam_status report(const char *what, const uint64_t *all, int size)
{
    line l = {.used = 0};
    int values = 0;
    for (int r = 0; r < size; r++)
        if (is_first(all, r) && values++ < LISTED) {
            append(&l, values == 1 ? "" : ", ");
            append_holders(&l, all, size, all[r]);
        }
    if (values == 1)
        return BEAM_OK;
    if (values > LISTED)
        append(&l, ", and there are %d more values", values - LISTED);
    return BEAM_FAIL(BEAM_ECOMM, "the ranks differ in %s: %s", what, l.text);
}

beam_status beam_comm_agree(beam_comm *c, const char *what, uint64_t value)
{
    if (c->size == 1)
        return BEAM_OK;
    uint64_t *all = gather(c, &value, sizeof value);
    const beam_status s = c->status ? c->status : report(what, all, c->size);
    free(all);
    return s;
}
