/* Operations of decoding on the processor and on a device, side by side. All functions fail the test that
 * calls them if they cannot do what they say. */
#ifndef BEAM_TESTS_DECODE_DEVICE_PAIR_H
#define BEAM_TESTS_DECODE_DEVICE_PAIR_H

#include "kernels/decode/ops.h"
#include "kernels/ops.h"

enum { HERE, THERE, BOTH };

typedef struct {
    beam_backend be[BOTH];
} pair;

void need(beam_status status);
void open_pair(pair *p);
void close_pair(pair *p);

void *new_memory(size_t bytes);

/* A number from -1 to 1; a tensor of them on the host, f32 or bf16, and its numbers. */
float number(uint64_t stream, int64_t i);
beam_tensor random_tensor(uint64_t stream, beam_dtype type, int ndim, const int64_t dim[]);
double at(beam_tensor t, int64_t i);

/* On the device: a copy, memory of NaN. Given back by drop, which accepts what is absent. */
beam_tensor put(beam_backend *be, beam_tensor host);
beam_tensor put_numbers(beam_backend *be, const int32_t *x, int64_t n);
beam_tensor unset(beam_backend *be, int ndim, const int64_t dim[]);
void drop(beam_backend *be, const beam_tensor *t, int n);

/* Every number within tolerance times the largest of `want`. */
void assert_near(beam_backend *be, beam_tensor t, const double *want, double tolerance, const char *what);

/* The same bits. */
void assert_equal(beam_backend *be, beam_tensor t, beam_tensor want, const char *what);

/* device_heads.c */
void norms_of_sums(void **state);
void heads_are_finished(void **state);

#endif
