/* Packed sequences as cuDNN wants them described. */
#include "kernels/cuda/cudnn.h"
#include "kernels/cuda/device.cuh"

static __global__ void sequence_places_kernel(beam_sequence_places to, const int32_t *first, int sequences)
{
    for (int64_t i = grid_thread(); i <= to.slots; i += grid_threads()) {
        const int64_t begin = first[i < sequences ? i : sequences];
        for (int j = 0; j < BEAM_SEQUENCE_TENSORS; j++)
            to.at[j][i] = begin * to.row[j];
        if (i < to.slots)
            to.length[i] = i < sequences ? static_cast<int32_t>(first[i + 1] - begin) : 0;
    }
}

void beam_cuda_sequence_places(beam_backend *be, beam_sequence_places to, beam_sequences seq)
{
    launch(be, sequence_places_kernel, grid_of(to.slots + 1, threads_per_block), threads_per_block, 0, to,
           data_of<int32_t>(seq.first), seq.n);
}
