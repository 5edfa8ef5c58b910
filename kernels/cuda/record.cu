/* Recorded launches: a CUDA graph of what the stream was given between record and end_record. */
#include "kernels/cuda/decode_step.h"
#include "kernels/cuda/device.cuh"

void beam_cuda_record(beam_backend *be)
{
    beam_cuda_check(be, cudaStreamBeginCapture(stream_of(be), cudaStreamCaptureModeThreadLocal), "recording");
}

/* Ends the capture after a failure too. */
void *beam_cuda_end_record(beam_backend *be)
{
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t recording = nullptr;
    if (beam_cuda_check(be, cudaStreamEndCapture(stream_of(be), &graph), "recording") &&
        !beam_cuda_check(be, cudaGraphInstantiate(&recording, graph, 0), "a graph of launches"))
        recording = nullptr;
    if (graph)
        cudaGraphDestroy(graph);
    return recording;
}

void beam_cuda_replay(beam_backend *be, void *recording)
{
    beam_cuda_check(be, cudaGraphLaunch(static_cast<cudaGraphExec_t>(recording), stream_of(be)),
                    "recorded launches");
}

void beam_cuda_forget(beam_backend *be, void *recording)
{
    beam_cuda_check(be, cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(recording)), "giving a graph back");
}
