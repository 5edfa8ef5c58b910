/* The matrix library behind the CPU backend. */
#ifndef BEAM_KERNELS_VERSION_H
#define BEAM_KERNELS_VERSION_H

#include <stdbool.h>
#include <stddef.h>

/* "OpenBLAS 0.3.21 DYNAMIC_ARCH ... Haswell": release, build options, and the processor it chose code for. */
void beam_blas_version(char *text, size_t size);

/* Whether it was built for OpenMP, so that it shares the program's threads instead of starting its own. */
bool beam_blas_uses_openmp(void);

#endif
