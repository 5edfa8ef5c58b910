/* From a graph of cuDNN to what runs: an engine that repeats its results bit for bit, and its compiled plan.
 */
#ifndef BEAM_KERNELS_CUDA_CUDNN_PLAN_H
#define BEAM_KERNELS_CUDA_CUDNN_PLAN_H

#include "kernels/cuda/cudnn_attention.h"

/* The first version whose backward pass of attention can be told to add in a fixed order. */
enum { BEAM_CUDNN_ORDERED = 92500 };

typedef struct {
    beam_cudnn_graph graph;
    beam_cudnn_item operations, choice, plan;
    int64_t engine, workspace; /* cuDNN's number of it; bytes */
} beam_cudnn_plan;

/* Builds the graph of beam_cudnn_attention or its gradient, and chooses its engine, on the processor alone.
 * False: no engine takes the shape, or none that repeats its results. Closed either way by
 * beam_cudnn_plan_close. */
bool beam_cudnn_plan_attention(beam_cudnn_plan *p, const beam_cudnn_library *lib, const beam_cudnn_shape *s,
                               bool grad);

/* The parts of it: the graph, and the first engine that cuDNN proposes for a graph and does not itself call
 * nondeterministic. */
bool beam_cudnn_plan_graph(beam_cudnn_plan *p, const beam_cudnn_library *lib, const beam_cudnn_shape *s,
                           bool grad);
bool beam_cudnn_plan_propose(beam_cudnn_plan *p);

/* Compiles the kernels, which takes seconds and a driver. */
bool beam_cudnn_plan_compile(beam_cudnn_plan *p);

void beam_cudnn_plan_close(beam_cudnn_plan *p); /* zeroed is accepted */

#endif
