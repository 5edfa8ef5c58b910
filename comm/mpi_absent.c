/* The place of mpi.c in a build without MPI. */
#include "comm/transport.h"

beam_status beam_mpi_open(beam_comm *c, int ranks)
{
    (void)c;
    return BEAM_FAIL(BEAM_ECOMM,
                     "started as one of %d ranks, but this build has no MPI: install libopenmpi-dev and "
                     "openmpi-bin and build again with -DBEAM_MPI=ON, or start it alone",
                     ranks);
}
