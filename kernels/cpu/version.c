#include "kernels/version.h"

#include <cblas.h>
#include <stdio.h>

void beam_blas_version(char *text, size_t size)
{
    snprintf(text, size, "%s", openblas_get_config());
}

bool beam_blas_uses_openmp(void)
{
    return openblas_get_parallel() == OPENBLAS_OPENMP;
}
