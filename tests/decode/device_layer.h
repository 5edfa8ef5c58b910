/* Random mixture layers in host and device memory, for tests of serve/beam_moe.h on a GPU. */
#ifndef BEAM_TESTS_DECODE_DEVICE_LAYER_H
#define BEAM_TESTS_DECODE_DEVICE_LAYER_H

#include "decode/library.h"
#include "kernels/backend.h"

/* What a layer is like. */
typedef struct {
    const char *name;
    int64_t tokens, D, E, N, K, F, S;
    bool masks, give_back, shared_gate, normalize, ties;
    double scale;
    int32_t groups, kept_groups, keep, anchor;
    double share;
    int32_t weight_type, hidden_type;
} layer_shape;

enum { LAYER_SHAPES = 12 };

/* Layers of every kind: 0 <= i < LAYER_SHAPES. */
const layer_shape *layer_shapes(int i);

enum { LAYER_MOST_TENSORS = 16 };

typedef struct {
    layer_shape shape;
    beam_backend be; /* of the device */
    int tensors;
    beam_tensor host[LAYER_MOST_TENSORS];
    void *device[LAYER_MOST_TENSORS];
    beam_moe cpu, gpu;    /* the same layer in both memories */
    beam_tensor x, gpu_x; /* [T,D] */
} test_layer;

/* A block on the device, full of NaN; beam_free gives it back. */
void *layer_room(test_layer *l, size_t bytes);

/* Pairs on the device or (be NULL) on the host. */
beam_moe_pairs layer_new_pairs(test_layer *l, bool on_device);
void layer_free_pairs(test_layer *l, beam_moe_pairs *p, bool on_device);

/* `be` is the open device and becomes the layer's. */
void layer_open(test_layer *l, const layer_shape *shape, beam_backend be);
void layer_close(test_layer *l);

/* u - cutoff of candidate `rank` of token t, in double. */
double layer_margin(const test_layer *l, const beam_moe_pairs *p, int64_t t, int64_t rank);

#endif
