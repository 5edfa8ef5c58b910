/* The ranks of a job and how they speak. One of: `self` (a process alone), `mpi` (host memory), `nccl`
 * (device memory; MPI carries its id and all host data).
 *
 * Every call is collective: all ranks make the same calls in the same order. Like a backend, a comm keeps its
 * first failure in `status`, later calls do nothing, and the caller looks where it waits anyway. `rank` and
 * `size` mean MPI's.
 *
 * Data move bit for bit. Sums are taken by whoever received the terms (comm/tree.h), so that they do not
 * depend on a library's algorithm. */
#ifndef BEAM_COMM_COMM_H
#define BEAM_COMM_COMM_H

#include "kernels/ops.h"

/* Exchanges that may be on their way at once. The first slots are those of the sums of gradients
 * (comm/sum.h), which begin while a backward pass still moves rows of experts in the others. */
enum { BEAM_SUM_SLOTS = 4, BEAM_EXCHANGES = BEAM_SUM_SLOTS + 2 };

typedef struct beam_comm beam_comm;

/* Every rank sends every rank a part, itself included. Parts are packed in order of ranks; counts are
 * elements. The tensors live where the comm's backend computes, and stay the caller's until the exchange has
 * finished. */
typedef struct {
    beam_tensor from, to;                 /* dense, of one dtype, of any shape */
    const int64_t *from_count, *to_count; /* [size] for each rank, and of each rank; copied by the start */
} beam_exchange;

typedef struct {
    const char *name;
    void (*start)(beam_comm *c, int slot, const beam_exchange *x);
    void (*progress)(beam_comm *c);
    void (*finish)(beam_comm *c, int slot);
    void (*all_gather)(beam_comm *c, beam_tensor block, const int64_t *count);
    void (*host_gather)(beam_comm *c, const void *mine, void *all, size_t bytes);
    void (*host_broadcast)(beam_comm *c, void *data, size_t bytes, int root);
    void (*abort)(beam_comm *c, int exit_code); /* of the other ranks */
    void (*close)(beam_comm *c);
} beam_comm_ops;

struct beam_comm {
    const beam_comm_ops *ops;
    int rank, size;
    int local_rank, local_size; /* among the ranks of the same host */
    beam_status status;
    beam_backend *be;          /* whose memory the tensors live in; set by attach */
    int64_t sent;              /* bytes this rank has sent to others, by any call */
    double waited;             /* seconds this rank has waited in finish and all_gather */
    bool busy[BEAM_EXCHANGES]; /* slots between start and finish */
    void *impl;
};

/* Joins the job that mpirun or srun started this process in; a process started otherwise is alone, and MPI is
 * not touched. BEAM_ECOMM if a launcher with several ranks is seen but this build has no MPI. */
beam_status beam_comm_open(beam_comm *c);

/* From here on tensors live in the memory of `be`, which must outlive the comm: device memory goes over NCCL,
 * which is loaded now. Collective. */
beam_status beam_comm_attach(beam_comm *c, beam_backend *be);

/* Leaves the job; collective after success. A rank that failed ends the job with beam_comm_abort instead. */
void beam_comm_close(beam_comm *c);

/* Ends every rank of the job with this exit code, and this process. */
__attribute__((noreturn)) void beam_comm_abort(beam_comm *c, int exit_code);

/* Begins an exchange in a free slot (0 .. BEAM_EXCHANGES - 1). Between start and finish, progress moves it
 * along where the transport needs that; finish waits for what has arrived. */
void beam_comm_start(beam_comm *c, int slot, const beam_exchange *x);
void beam_comm_progress(beam_comm *c);
void beam_comm_finish(beam_comm *c, int slot);

/* The block [sum of counts] is packed parts in order of ranks; each rank's own part is right before, all are
 * after. */
void beam_comm_all_gather(beam_comm *c, beam_tensor block, const int64_t *count);

/* Host memory. `all` [size * bytes] gets everyone's `mine` [bytes], in order of ranks. */
void beam_comm_host_gather(beam_comm *c, const void *mine, void *all, size_t bytes);
void beam_comm_host_broadcast(beam_comm *c, void *data, size_t bytes, int root);

/* x[n] = the sum over ranks, in the fixed tree's order (comm/tree.h): the same bits on every rank. */
beam_status beam_comm_sum(beam_comm *c, double *x, int64_t n);

/* All ranks hold the same value, or all fail (BEAM_ECOMM) with a message that says what differs, on which
 * ranks. */
beam_status beam_comm_agree(beam_comm *c, const char *what, uint64_t value);

/* The verdict of all ranks on something each of them tried: BEAM_OK if all are; else every rank fails, with
 * the status and message of the lowest rank that did ("rank 2: ..."). */
beam_status beam_comm_verdict(beam_comm *c, beam_status mine);

#endif
