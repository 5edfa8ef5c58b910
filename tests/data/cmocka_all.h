/* cmocka.h and what must come before it. */
#ifndef BEAM_TESTS_DATA_CMOCKA_ALL_H
#define BEAM_TESTS_DATA_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
