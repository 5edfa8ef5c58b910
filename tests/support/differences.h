/* Finite differences. */
#ifndef BEAM_TESTS_SUPPORT_DIFFERENCES_H
#define BEAM_TESTS_SUPPORT_DIFFERENCES_H

/* df/dx by the central difference over four points, with steps h and 2h. Truncation is h^4/30 times the fifth
 * derivative, rounding about 1.5 ulp(f)/h: in double, h = 1e-3 leaves 1e-12 or so of either. */
double test_derivative(double (*f)(void *context, double x), void *context, double x, double h);

#endif
