/* Plays libnccl.so.2 over MPI and host memory, as strictly as the library is: sends and receives only inside
 * a group, on a stream, with the id that rank 0 drew. With FAKE_NCCL_FAIL=ncclSend (say) in the environment,
 * that function fails. */
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, UINT8 = 1, QUEUE = 64 };

typedef struct {
    char bytes[128];
} ncclUniqueId;

typedef struct {
    MPI_Comm world;
} ncclComm;

typedef struct {
    MPI_Request request[QUEUE];
    int n, open;
} group_state;

static group_state group;

int ncclGetUniqueId(ncclUniqueId *id);
int ncclCommInitRank(ncclComm **comm, int ranks, ncclUniqueId id, int rank);
int ncclCommDestroy(ncclComm *comm);
int ncclCommGetAsyncError(ncclComm *comm, int *result);
const char *ncclGetErrorString(int result);
int ncclGroupStart(void);
int ncclGroupEnd(void);
int ncclSend(const void *from, size_t n, int type, int peer, ncclComm *comm, void *stream);
int ncclRecv(void *to, size_t n, int type, int peer, ncclComm *comm, void *stream);
int ncclBroadcast(const void *from, void *to, size_t n, int type, int root, ncclComm *comm, void *stream);

static int is_to_fail(const char *name)
{
    const char *wanted = getenv("FAKE_NCCL_FAIL");
    return wanted && strcmp(wanted, name) == 0;
}

int ncclGetUniqueId(ncclUniqueId *id)
{
    if (is_to_fail("ncclGetUniqueId"))
        return SYSTEM_ERROR;
    memset(id, 0x5a, sizeof *id);
    return SUCCESS;
}

int ncclCommInitRank(ncclComm **comm, int ranks, ncclUniqueId id, int rank)
{
    int size, me;
    if (is_to_fail("ncclCommInitRank"))
        return SYSTEM_ERROR;
    *comm = malloc(sizeof **comm);
    if (!*comm || MPI_Comm_dup(MPI_COMM_WORLD, &(*comm)->world) != MPI_SUCCESS)
        return SYSTEM_ERROR;
    MPI_Comm_size((*comm)->world, &size);
    MPI_Comm_rank((*comm)->world, &me);
    return ranks == size && rank == me && id.bytes[0] == 0x5a && id.bytes[127] == 0x5a ? SUCCESS
                                                                                       : INVALID_ARGUMENT;
}

int ncclCommDestroy(ncclComm *comm)
{
    MPI_Comm_free(&comm->world);
    free(comm);
    return SUCCESS;
}

int ncclCommGetAsyncError(ncclComm *comm, int *result)
{
    (void)comm;
    *result = is_to_fail("ncclCommGetAsyncError") ? SYSTEM_ERROR : SUCCESS;
    return SUCCESS;
}

const char *ncclGetErrorString(int result)
{
    return result == SYSTEM_ERROR ? "unhandled system error" : "invalid argument or usage";
}

int ncclGroupStart(void)
{
    group.open++;
    return SUCCESS;
}

int ncclGroupEnd(void)
{
    if (group.open-- != 1)
        return INVALID_USAGE;
    const int n = group.n;
    group.n = 0;
    const int code = MPI_Waitall(n, group.request, MPI_STATUSES_IGNORE);
    return code == MPI_SUCCESS && !is_to_fail("ncclGroupEnd") ? SUCCESS : SYSTEM_ERROR;
}

static int is_wrong(const void *data, int type, const void *stream)
{
    return group.open != 1 || group.n == QUEUE || !data || type != UINT8 || !stream;
}

int ncclSend(const void *from, size_t n, int type, int peer, ncclComm *comm, void *stream)
{
    if (is_to_fail("ncclSend"))
        return SYSTEM_ERROR;
    if (is_wrong(from, type, stream))
        return INVALID_USAGE;
    MPI_Isend(from, (int)n, MPI_BYTE, peer, 0, comm->world, &group.request[group.n++]);
    return SUCCESS;
}

int ncclRecv(void *to, size_t n, int type, int peer, ncclComm *comm, void *stream)
{
    if (is_to_fail("ncclRecv"))
        return SYSTEM_ERROR;
    if (is_wrong(to, type, stream))
        return INVALID_USAGE;
    MPI_Irecv(to, (int)n, MPI_BYTE, peer, 0, comm->world, &group.request[group.n++]);
    return SUCCESS;
}

int ncclBroadcast(const void *from, void *to, size_t n, int type, int root, ncclComm *comm, void *stream)
{
    if (is_to_fail("ncclBroadcast"))
        return SYSTEM_ERROR;
    if (from != to || is_wrong(to, type, stream))
        return INVALID_USAGE;
    MPI_Ibcast(to, (int)n, MPI_BYTE, root, comm->world, &group.request[group.n++]);
    return SUCCESS;
}
