/* Broken contracts stop the program: this asks whether they do. */
#ifndef BEAM_TESTS_SUPPORT_STOPS_H
#define BEAM_TESTS_SUPPORT_STOPS_H

#include <stdbool.h>

/* True when f(context), run in a child process with stderr sent nowhere, aborts. */
bool test_stops(void (*f)(void *context), void *context);

#endif
