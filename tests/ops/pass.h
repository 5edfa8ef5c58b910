/* One pass of a case through a backend, and how two of them compare. */
#ifndef BEAM_TESTS_OPS_PASS_H
#define BEAM_TESTS_OPS_PASS_H

#include "ops/cases.h"

/* Forward and backward of an opened fixture. Returns the image of the results, the caller's to free. */
char *op_pass(op_fixture *f);

/* Starts f from the numbers of another fixture of the same case, which may be rounded further. */
void op_start_like(op_fixture *f, const op_fixture *other);

/* Whether everything the case computes agrees: integers exactly, numbers within the tolerance, and the same
 * elements untouched. Says where not. */
bool op_agree(const op_fixture *got, char *got_image, const op_fixture *want, char *want_image,
              double tolerance);

#endif
