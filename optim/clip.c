#include "optim/clip.h"

#include <math.h>

beam_status beam_grad_norm(beam_backend *be, beam_tensor grads, beam_tensor sum, double *norm)
{
    beam_zero(be, sum);
    beam_sum_squares(be, sum, grads);
    beam_download(be, norm, sum);
    *norm = sqrt(*norm);
    return beam_sync(be);
}

double beam_clip_scale(double norm, double max_norm)
{
    return max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0;
}
