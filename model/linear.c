#include "model/linear.h"

beam_linear beam_linear_of(const beam_param *weight, const beam_param *bias)
{
    beam_linear w = {.weight = weight->value, .dweight = weight->grad};
    if (bias) {
        w.bias = bias->value;
        w.dbias = bias->grad;
    }
    return w;
}

beam_linear beam_linear_rows(const beam_param *weight, int64_t first, int64_t n)
{
    beam_linear w = {.weight = beam_rows(weight->value, first, n)};
    if (weight->grad.data)
        w.dweight = beam_rows(weight->grad, first, n);
    return w;
}

void beam_linear_forward(beam_backend *be, beam_linear w, beam_tensor x, beam_tensor y, double beta)
{
    beam_gemm(be, y, x, false, w.weight, true, 1, beta);
    if (w.bias.data)
        beam_add_bias(be, y, w.bias);
}

void beam_linear_backward(beam_backend *be, beam_linear w, beam_tensor x, beam_tensor dy, beam_tensor dx,
                          double beta)
{
    if (w.dweight.data)
        beam_gemm(be, w.dweight, dy, true, x, false, 1, 1);
    if (w.dbias.data)
        beam_bias_grad(be, w.dbias, dy);
    if (dx.data)
        beam_gemm(be, dx, dy, false, w.weight, false, 1, beta);
}
