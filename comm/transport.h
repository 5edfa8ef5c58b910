/* Who carries a comm's data. The front (comm/comm.c) has checked every call, moves each rank's part to
 * itself, counts bytes and measures time; a transport's ops move what is between ranks. */
#ifndef BEAM_COMM_TRANSPORT_H
#define BEAM_COMM_TRANSPORT_H

#include "comm/comm.h"

/* One process alone. */
void beam_self_open(beam_comm *c);

/* Joins the `ranks` ranks that a launcher started. On failure nothing is left to close. */
beam_status beam_mpi_open(beam_comm *c, int ranks);

/* Device memory over NCCL, on the stream of c->be; the open comm `c` keeps carrying host data. Collective. A
 * failure that all ranks know leaves `c` as before; one that they may not know stays in c->status. */
beam_status beam_nccl_open(beam_comm *c);

#endif
