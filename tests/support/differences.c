#include "support/differences.h"

double test_derivative(double (*f)(void *context, double x), void *context, double x, double h)
{
    const double near = f(context, x + h) - f(context, x - h);
    const double far = f(context, x + 2 * h) - f(context, x - 2 * h);
    return (8 * near - far) / (12 * h);
}
