/* Elements of host tensors as doubles, and deterministic contents. Every random value is rounded to float, so
 * that backends of different precision start from the same numbers. Filling a tensor without data (a
 * measuring pass) does nothing. */
#ifndef BEAM_TESTS_SUPPORT_VALUES_H
#define BEAM_TESTS_SUPPORT_VALUES_H

#include "core/tensor.h"

/* Element i in row-major order, whatever the dtype; writing rounds to it. */
double test_get(beam_tensor t, int64_t i);
void test_set(beam_tensor t, int64_t i, double value);

/* Element i of the random stream `name`: standard normal, or uniform in [low, high). */
double test_normal(const char *name, int64_t i);
double test_uniform(const char *name, int64_t i, double low, double high);

/* Whole tensors. The name selects the stream: two names give unrelated contents. */
void test_fill(beam_tensor t, double value);
void test_fill_normal(beam_tensor t, const char *name, double scale);
void test_fill_uniform(beam_tensor t, const char *name, double low, double high);
/* Integers in [low, high]: small ones make every sum of products exact, hence independent of its order. */
void test_fill_integers(beam_tensor t, const char *name, int low, int high);

#endif
