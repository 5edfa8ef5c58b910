/* Device memory over NCCL, which is loaded when it is needed: the same program runs where there is none. The
 * declarations below are those of its public interface (nccl.h), which does not change within libnccl.so.2.
 *
 * All calls are put on the backend's stream, so they follow what computes their data and come before what
 * uses them; the host does not wait here. Data move as bytes. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "comm/transport.h"

enum { NCCL_SUCCESS = 0, NCCL_IN_PROGRESS = 7, NCCL_BYTES = 1 /* ncclUint8 */ };

typedef struct {
    char bytes[128];
} nccl_id;

/* ncclResult_t and ncclDataType_t are int in calls, ncclComm_t and cudaStream_t pointers. */
typedef struct {
    int (*get_unique_id)(nccl_id *id);
    int (*comm_init_rank)(void **comm, int ranks, nccl_id id, int rank);
    int (*comm_destroy)(void *comm);
    int (*comm_get_async_error)(void *comm, int *result);
    const char *(*get_error_string)(int result);
    int (*group_start)(void);
    int (*group_end)(void);
    int (*send)(const void *from, size_t n, int type, int peer, void *comm, void *stream);
    int (*receive)(void *to, size_t n, int type, int peer, void *comm, void *stream);
    int (*broadcast)(const void *from, void *to, size_t n, int type, int root, void *comm, void *stream);
} nccl_api;

static const struct {
    const char *name;
    size_t at; /* in nccl_api */
} entry[] = {
    {"ncclGetUniqueId", offsetof(nccl_api, get_unique_id)},
    {"ncclCommInitRank", offsetof(nccl_api, comm_init_rank)},
    {"ncclCommDestroy", offsetof(nccl_api, comm_destroy)},
    {"ncclCommGetAsyncError", offsetof(nccl_api, comm_get_async_error)},
    {"ncclGetErrorString", offsetof(nccl_api, get_error_string)},
    {"ncclGroupStart", offsetof(nccl_api, group_start)},
    {"ncclGroupEnd", offsetof(nccl_api, group_end)},
    {"ncclSend", offsetof(nccl_api, send)},
    {"ncclRecv", offsetof(nccl_api, receive)},
    {"ncclBroadcast", offsetof(nccl_api, broadcast)},
};

typedef struct {
    beam_comm host; /* carries host data and the end of the job */
    nccl_api api;
    void *comm;
} nccl_job;

/* True, and noted, if a call of NCCL failed. */
static bool failed(beam_comm *c, const nccl_job *job, int result, const char *call)
{
    if (result == NCCL_SUCCESS)
        return false;
    c->status = BEAM_FAIL(BEAM_ECOMM, "%s failed (%s); NCCL_DEBUG=INFO in the environment says more", call,
                          job->api.get_error_string(result));
    return true;
}

/* Between these two, calls are collected; they all begin at the end. */
static void begin(beam_comm *c, const nccl_job *job)
{
    failed(c, job, job->api.group_start(), "ncclGroupStart");
}

/* Always called, so that no group stays open; the first failure stays. */
static void end(beam_comm *c, const nccl_job *job)
{
    const int result = job->api.group_end();
    if (!c->status)
        failed(c, job, result, "ncclGroupEnd");
}

static void start(beam_comm *c, int slot, const beam_exchange *x)
{
    (void)slot;
    nccl_job *job = c->impl;
    const size_t size = beam_dtype_size(x->from.dtype);
    const char *from = x->from.data;
    char *to = x->to.data;
    begin(c, job);
    for (int r = 0; r < c->size && !c->status; r++) {
        const size_t out = (size_t)x->from_count[r] * size, in = (size_t)x->to_count[r] * size;
        if (r != c->rank && out > 0)
            failed(c, job, job->api.send(from, out, NCCL_BYTES, r, job->comm, c->be->stream), "ncclSend");
        if (r != c->rank && in > 0 && !c->status)
            failed(c, job, job->api.receive(to, in, NCCL_BYTES, r, job->comm, c->be->stream), "ncclRecv");
        from += out;
        to += in;
    }
    end(c, job);
}

/* A peer that has gone is seen here; the stream itself would wait for it forever. */
static void progress(beam_comm *c)
{
    nccl_job *job = c->impl;
    int result = NCCL_SUCCESS;
    if (!failed(c, job, job->api.comm_get_async_error(job->comm, &result), "ncclCommGetAsyncError") &&
        result != NCCL_IN_PROGRESS)
        failed(c, job, result, "NCCL");
}

static void finish(beam_comm *c, int slot)
{
    (void)slot;
    progress(c);
}

static void all_gather(beam_comm *c, beam_tensor block, const int64_t *count)
{
    nccl_job *job = c->impl;
    char *at = block.data;
    begin(c, job);
    for (int r = 0; r < c->size && !c->status; r++) {
        const size_t bytes = (size_t)count[r] * beam_dtype_size(block.dtype);
        if (bytes > 0)
            failed(c, job, job->api.broadcast(at, at, bytes, NCCL_BYTES, r, job->comm, c->be->stream),
                   "ncclBroadcast");
        at += bytes;
    }
    end(c, job);
}

static void host_gather(beam_comm *c, const void *mine, void *all, size_t bytes)
{
    nccl_job *job = c->impl;
    job->host.ops->host_gather(&job->host, mine, all, bytes);
    c->status = job->host.status;
}

static void host_broadcast(beam_comm *c, void *data, size_t bytes, int root)
{
    nccl_job *job = c->impl;
    job->host.ops->host_broadcast(&job->host, data, bytes, root);
    c->status = job->host.status;
}

static void stop(beam_comm *c, int exit_code)
{
    nccl_job *job = c->impl;
    job->host.ops->abort(&job->host, exit_code);
}

/* The library stays loaded: threads of its own may still run in it. */
static void unload(nccl_job *job)
{
    if (job->comm)
        job->api.comm_destroy(job->comm);
    free(job);
}

static void leave(beam_comm *c)
{
    nccl_job *job = c->impl;
    beam_comm host = job->host;
    unload(job);
    host.ops->close(&host);
    c->impl = NULL;
}

static const beam_comm_ops nccl_ops = {
    .name = "nccl",
    .start = start,
    .progress = progress,
    .finish = finish,
    .all_gather = all_gather,
    .host_gather = host_gather,
    .host_broadcast = host_broadcast,
    .abort = stop,
    .close = leave,
};

static beam_status load(nccl_job *job)
{
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return BEAM_FAIL(BEAM_ECOMM, "several GPUs need NCCL (libnccl2): %s", dlerror());
    for (size_t i = 0; i < sizeof entry / sizeof entry[0]; i++) {
        void *function = dlsym(library, entry[i].name);
        if (!function)
            return BEAM_FAIL(BEAM_ECOMM, "libnccl.so.2 has no %s; NCCL 2.7 or later is needed",
                             entry[i].name);
        memcpy((char *)&job->api + entry[i].at, &function, sizeof function);
    }
    return BEAM_OK;
}

/* Rank 0 draws the id of this job, all join by it. A rank that cannot join keeps its failure in c->status:
 * the others may wait for it in there, where no verdict reaches them, until it ends the job. */
static beam_status join(beam_comm *c, nccl_job *job)
{
    nccl_id id = {{0}};
    beam_status mine = BEAM_OK;
    if (c->rank == 0 && failed(c, job, job->api.get_unique_id(&id), "ncclGetUniqueId"))
        mine = c->status;
    c->status = BEAM_OK; /* MPI works, and carries the verdict */
    BEAM_TRY(beam_comm_verdict(c, mine));
    beam_comm_host_broadcast(c, &id, sizeof id, 0);
    BEAM_TRY(c->status);
    failed(c, job, job->api.comm_init_rank(&job->comm, c->size, id, c->rank), "ncclCommInitRank");
    return c->status;
}

beam_status beam_nccl_open(beam_comm *c)
{
    nccl_job *job = calloc(1, sizeof *job);
    beam_status s = job ? load(job) : BEAM_FAIL(BEAM_ENOMEM, "no memory for NCCL");
    s = beam_comm_verdict(c, s);
    if (!s)
        s = join(c, job);
    if (s) {
        if (job)
            unload(job);
        return s;
    }
    job->host = *c;
    c->ops = &nccl_ops;
    c->impl = job;
    return BEAM_OK;
}
