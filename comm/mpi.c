/* Host memory over MPI. All parts travel as bytes in messages of at most MESSAGE bytes, because MPI counts
 * with int. Messages between two ranks with one tag arrive in the order of sending, so the calls need no
 * further names. */
#include <mpi.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm/transport.h"

static const size_t MESSAGE = (size_t)1 << 30;

enum {
    GATHER = BEAM_EXCHANGES, /* the list and tag of calls that wait by themselves, after those of the slots */
    LISTS,
    SPINS = 1000,  /* tests in a row before sleeping */
    PAUSE = 20000, /* nanoseconds: ranks may share a core */
};

/* What is on its way. */
typedef struct {
    MPI_Request *at;
    int n, most;
} requests;

typedef struct {
    MPI_Comm world;
    requests list[LISTS];
} mpi_job;

/* True, and noted, if an MPI call failed. */
static bool failed(beam_comm *c, int code, const char *call)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    if (code == MPI_SUCCESS)
        return false;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS)
        text[0] = '\0';
    c->status = BEAM_FAIL(BEAM_ECOMM,
                          "%s failed (%s): another rank or the network is gone; look for the first "
                          "error above, then start again from the last checkpoint",
                          call, text);
    return true;
}

/* Room for one more; NULL, and noted, if there is none. */
static MPI_Request *next_request(beam_comm *c, requests *list)
{
    if (list->n == list->most) {
        const int most = list->most ? 2 * list->most : 2 * c->size;
        MPI_Request *at = realloc(list->at, (size_t)most * sizeof *at);
        if (!at) {
            c->status = BEAM_FAIL(BEAM_ENOMEM, "no memory for %d messages on their way", most);
            return NULL;
        }
        list->at = at;
        list->most = most;
    }
    list->at[list->n] = MPI_REQUEST_NULL;
    return &list->at[list->n++];
}

static void post_receive(beam_comm *c, int tag, void *to, size_t bytes, int peer)
{
    mpi_job *job = c->impl;
    for (size_t at = 0; at < bytes && !c->status; at += MESSAGE) {
        const size_t n = bytes - at < MESSAGE ? bytes - at : MESSAGE;
        MPI_Request *r = next_request(c, &job->list[tag]);
        if (r)
            failed(c, MPI_Irecv((char *)to + at, (int)n, MPI_BYTE, peer, tag, job->world, r), "MPI_Irecv");
    }
}

static void post_send(beam_comm *c, int tag, const void *from, size_t bytes, int peer)
{
    mpi_job *job = c->impl;
    for (size_t at = 0; at < bytes && !c->status; at += MESSAGE) {
        const size_t n = bytes - at < MESSAGE ? bytes - at : MESSAGE;
        MPI_Request *r = next_request(c, &job->list[tag]);
        if (r)
            failed(c, MPI_Isend((const char *)from + at, (int)n, MPI_BYTE, peer, tag, job->world, r),
                   "MPI_Isend");
    }
}

static bool arrived(beam_comm *c, requests *list)
{
    int done = 0;
    if (failed(c, MPI_Testall(list->n, list->at, &done, MPI_STATUSES_IGNORE), "MPI_Testall"))
        return true;
    if (done)
        list->n = 0;
    return done != 0;
}

static void wait_for(beam_comm *c, requests *list)
{
    const struct timespec pause = {.tv_nsec = PAUSE};
    for (int tests = 0; !c->status && !arrived(c, list); tests++)
        if (tests < SPINS)
            sched_yield();
        else
            nanosleep(&pause, NULL);
}

/* Bytes before part `rank` of a packed block. */
static size_t offset_of(const int64_t *count, int rank, size_t size)
{
    size_t n = 0;
    for (int r = 0; r < rank; r++)
        n += (size_t)count[r] * size;
    return n;
}

/* Peers in an order that starts elsewhere on every rank, so that not all send to rank 0 first. */
static int peer_of(const beam_comm *c, int i)
{
    return (c->rank + i) % c->size;
}

static void start(beam_comm *c, int slot, const beam_exchange *x)
{
    const size_t size = beam_dtype_size(x->from.dtype);
    for (int i = 1; i < c->size; i++) {
        const int p = peer_of(c, c->size - i);
        char *to = (char *)x->to.data + offset_of(x->to_count, p, size);
        post_receive(c, slot, to, (size_t)x->to_count[p] * size, p);
    }
    for (int i = 1; i < c->size; i++) {
        const int p = peer_of(c, i);
        const char *from = (const char *)x->from.data + offset_of(x->from_count, p, size);
        post_send(c, slot, from, (size_t)x->from_count[p] * size, p);
    }
}

static void progress(beam_comm *c)
{
    mpi_job *job = c->impl;
    for (int slot = 0; slot < BEAM_EXCHANGES && !c->status; slot++)
        if (job->list[slot].n > 0)
            arrived(c, &job->list[slot]);
}

static void finish(beam_comm *c, int slot)
{
    mpi_job *job = c->impl;
    wait_for(c, &job->list[slot]);
}

static void all_gather(beam_comm *c, beam_tensor block, const int64_t *count)
{
    mpi_job *job = c->impl;
    const size_t size = beam_dtype_size(block.dtype);
    const char *mine = (const char *)block.data + offset_of(count, c->rank, size);
    for (int i = 1; i < c->size; i++) {
        const int p = peer_of(c, c->size - i);
        post_receive(c, GATHER, (char *)block.data + offset_of(count, p, size), (size_t)count[p] * size, p);
    }
    for (int i = 1; i < c->size; i++)
        post_send(c, GATHER, mine, (size_t)count[c->rank] * size, peer_of(c, i));
    wait_for(c, &job->list[GATHER]);
}

static void host_gather(beam_comm *c, const void *mine, void *all, size_t bytes)
{
    mpi_job *job = c->impl;
    if (bytes > 0)
        memcpy((char *)all + (size_t)c->rank * bytes, mine, bytes);
    for (int i = 1; i < c->size; i++) {
        const int p = peer_of(c, c->size - i);
        post_receive(c, GATHER, (char *)all + (size_t)p * bytes, bytes, p);
    }
    for (int i = 1; i < c->size; i++)
        post_send(c, GATHER, mine, bytes, peer_of(c, i));
    wait_for(c, &job->list[GATHER]);
}

static void host_broadcast(beam_comm *c, void *data, size_t bytes, int root)
{
    mpi_job *job = c->impl;
    for (size_t at = 0; at < bytes && !c->status; at += MESSAGE) {
        const size_t n = bytes - at < MESSAGE ? bytes - at : MESSAGE;
        MPI_Request *r = next_request(c, &job->list[GATHER]);
        if (r &&
            !failed(c, MPI_Ibcast((char *)data + at, (int)n, MPI_BYTE, root, job->world, r), "MPI_Ibcast"))
            wait_for(c, &job->list[GATHER]);
    }
}

static void stop(beam_comm *c, int exit_code)
{
    mpi_job *job = c->impl;
    MPI_Abort(job->world, exit_code);
}

static void leave(beam_comm *c)
{
    mpi_job *job = c->impl;
    for (int i = 0; i < LISTS; i++)
        free(job->list[i].at);
    if (job->world != MPI_COMM_NULL)
        MPI_Comm_free(&job->world);
    MPI_Finalize();
    free(job);
    c->impl = NULL;
}

static const beam_comm_ops mpi_ops = {
    .name = "mpi",
    .start = start,
    .progress = progress,
    .finish = finish,
    .all_gather = all_gather,
    .host_gather = host_gather,
    .host_broadcast = host_broadcast,
    .abort = stop,
    .close = leave,
};

/* Ranks among all, and among those of this host. */
static void find_place(beam_comm *c, mpi_job *job)
{
    MPI_Comm host = MPI_COMM_NULL;
    if (failed(c, MPI_Comm_dup(MPI_COMM_WORLD, &job->world), "MPI_Comm_dup"))
        return;
    MPI_Comm_set_errhandler(job->world, MPI_ERRORS_RETURN);
    MPI_Comm_rank(job->world, &c->rank);
    MPI_Comm_size(job->world, &c->size);
    if (failed(c, MPI_Comm_split_type(job->world, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &host),
               "MPI_Comm_split_type"))
        return;
    MPI_Comm_rank(host, &c->local_rank);
    MPI_Comm_size(host, &c->local_size);
    MPI_Comm_free(&host);
}

beam_status beam_mpi_open(beam_comm *c, int ranks)
{
    int threads = 0;
    mpi_job *job = calloc(1, sizeof *job);
    if (!job)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory to join %d ranks", ranks);
    job->world = MPI_COMM_NULL;
    *c = (beam_comm){.ops = &mpi_ops, .impl = job};
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &threads) != MPI_SUCCESS) {
        free(job);
        *c = (beam_comm){0};
        return BEAM_FAIL(BEAM_ECOMM, "MPI_Init_thread failed");
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    find_place(c, job);
    if (!c->status && threads < MPI_THREAD_FUNNELED)
        c->status = BEAM_FAIL(BEAM_ECOMM, "this MPI allows no threads beside it (MPI_THREAD_FUNNELED)");
    if (!c->status && c->size != ranks)
        c->status = BEAM_FAIL(BEAM_ECOMM,
                              "started as one of %d ranks, but MPI sees %d: use the mpirun of the MPI that "
                              "beam was built with, or srun --mpi=pmix",
                              ranks, c->size);
    const beam_status s = c->status;
    if (s)
        beam_comm_close(c);
    return s;
}
