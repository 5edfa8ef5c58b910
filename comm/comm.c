/* The checked front of the ranks' calls. */
#include "comm/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm/transport.h"
#include "core/clock.h"

static int number_in(const char *variable)
{
    const char *text = getenv(variable);
    const long n = text ? strtol(text, NULL, 10) : 0;
    return n > 0 && n < INT32_MAX ? (int)n : 0;
}

/* How many ranks a launcher started this process as one of; 1 without a launcher. A batch script of Slurm
 * has SLURM_NTASKS, but is no rank. */
static int count_launched(void)
{
    static const char *const variable[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};
    for (size_t i = 0; i < sizeof variable / sizeof variable[0]; i++)
        if (number_in(variable[i]) > 0)
            return number_in(variable[i]);
    const int tasks = getenv("PMIX_RANK") ? number_in("SLURM_NTASKS") : 0;
    return tasks > 0 ? tasks : 1;
}

beam_status beam_comm_open(beam_comm *c)
{
    const int ranks = count_launched();
    beam_self_open(c);
    if (ranks == 1)
        return BEAM_OK;
    BEAM_TRY(beam_mpi_open(c, ranks));
    return BEAM_OK;
}

beam_status beam_comm_attach(beam_comm *c, beam_backend *be)
{
    c->be = be;
    if (be->device_memory && c->size > 1)
        BEAM_TRY(beam_nccl_open(c));
    return BEAM_OK;
}

void beam_comm_close(beam_comm *c)
{
    if (c->ops)
        c->ops->close(c);
    *c = (beam_comm){0};
}

void beam_comm_abort(beam_comm *c, int exit_code)
{
    fflush(NULL);
    if (c->ops)
        c->ops->abort(c, exit_code);
    _exit(exit_code);
}

static int64_t sum_counts(const beam_comm *c, const int64_t *count, int ranks)
{
    int64_t sum = 0;
    BEAM_ASSERT(ranks <= c->size);
    for (int r = 0; r < ranks; r++) {
        BEAM_ASSERT(count[r] >= 0);
        sum += count[r];
    }
    return sum;
}

/* Elements [first, first + n) of a dense tensor. */
static beam_tensor part(beam_tensor t, int64_t first, int64_t n)
{
    return beam_rows(beam_reshape(t, 1, (const int64_t[]){beam_count(t)}), first, n);
}

void beam_comm_start(beam_comm *c, int slot, const beam_exchange *x)
{
    if (c->status)
        return;
    const int64_t mine = x->from_count[c->rank];
    BEAM_ASSERT(c->be && slot >= 0 && slot < BEAM_EXCHANGES && !c->busy[slot]);
    BEAM_ASSERT(x->from.dtype == x->to.dtype && x->to_count[c->rank] == mine);
    BEAM_ASSERT(sum_counts(c, x->from_count, c->size) == beam_count(x->from));
    BEAM_ASSERT(sum_counts(c, x->to_count, c->size) == beam_count(x->to));
    c->busy[slot] = true;
    beam_copy(c->be, part(x->to, sum_counts(c, x->to_count, c->rank), mine),
              part(x->from, sum_counts(c, x->from_count, c->rank), mine));
    c->sent += (beam_count(x->from) - mine) * (int64_t)beam_dtype_size(x->from.dtype);
    c->ops->start(c, slot, x);
}

void beam_comm_progress(beam_comm *c)
{
    if (!c->status)
        c->ops->progress(c);
}

void beam_comm_finish(beam_comm *c, int slot)
{
    if (c->status)
        return;
    BEAM_ASSERT(slot >= 0 && slot < BEAM_EXCHANGES && c->busy[slot]);
    const double start = beam_seconds();
    c->ops->finish(c, slot);
    c->waited += beam_seconds() - start;
    c->busy[slot] = false;
}

void beam_comm_all_gather(beam_comm *c, beam_tensor block, const int64_t *count)
{
    if (c->status)
        return;
    BEAM_ASSERT(c->be && sum_counts(c, count, c->size) == beam_count(block));
    const double start = beam_seconds();
    c->ops->all_gather(c, block, count);
    c->waited += beam_seconds() - start;
    c->sent += count[c->rank] * (int64_t)beam_dtype_size(block.dtype) * (c->size - 1);
}

void beam_comm_host_gather(beam_comm *c, const void *mine, void *all, size_t bytes)
{
    if (c->status)
        return;
    c->ops->host_gather(c, mine, all, bytes);
    c->sent += (int64_t)bytes * (c->size - 1);
}

void beam_comm_host_broadcast(beam_comm *c, void *data, size_t bytes, int root)
{
    if (c->status)
        return;
    BEAM_ASSERT(root >= 0 && root < c->size);
    c->ops->host_broadcast(c, data, bytes, root);
    c->sent += c->rank == root ? (int64_t)bytes * (c->size - 1) : 0;
}

/* The sum over rows of all [size, n], into the first row, in the order of beam_tree_add_rows. */
static void add_rows(double *all, int size, int64_t n)
{
    for (int apart = 1; apart < size; apart *= 2)
        for (int r = 0; r + apart < size; r += 2 * apart)
            for (int64_t i = 0; i < n; i++)
                all[r * n + i] += all[(r + apart) * n + i];
}

beam_status beam_comm_sum(beam_comm *c, double *x, int64_t n)
{
    if (c->size == 1 || n == 0 || c->status)
        return c->status;
    const size_t bytes = (size_t)n * sizeof *x;
    double *all = malloc(bytes * (size_t)c->size);
    if (!all) /* the other ranks wait in the gather: the comm is of no use any more */
        return c->status =
                   BEAM_FAIL(BEAM_ENOMEM, "no memory to add %lld numbers of %d ranks", (long long)n, c->size);
    beam_comm_host_gather(c, x, all, bytes);
    if (!c->status) {
        add_rows(all, c->size, n);
        memcpy(x, all, bytes);
    }
    free(all);
    return c->status;
}
