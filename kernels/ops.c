/* The checked front of the dense ops and the update. */
#include "kernels/ops.h"

#include <string.h>

#include "kernels/shape.h"

/* Memory. */

void *beam_alloc(beam_backend *be, size_t bytes, const char *what)
{
    if (be->status)
        return NULL;
    void *p = be->ops->alloc(be, bytes);
    if (!p)
        be->status = BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for %s (%zu bytes); use a smaller micro-batch",
                               be->ops->name, what, bytes);
    return p;
}

void beam_free(beam_backend *be, void *p)
{
    be->ops->free(be, p);
}

void beam_upload(beam_backend *be, beam_tensor t, const void *host)
{
    if (be->status)
        return;
    be->busy = true;
    be->ops->upload(be, t.data, host, beam_bytes(t));
}

void beam_download(beam_backend *be, void *host, beam_tensor t)
{
    if (!be->status) {
        be->waits++;
        be->busy = false;
        be->ops->download(be, host, t.data, beam_bytes(t));
    } else if (beam_bytes(t) > 0) {
        memset(host, 0, beam_bytes(t));
    }
}

void beam_zero(beam_backend *be, beam_tensor t)
{
    if (be->status)
        return;
    be->busy = true;
    be->ops->zero(be, t.data, beam_bytes(t));
}

beam_status beam_sync(beam_backend *be)
{
    if (!be->status) {
        be->waits += be->busy;
        be->busy = false;
        be->ops->sync(be);
    }
    return be->status;
}

void beam_backend_close(beam_backend *be)
{
    be->ops->close(be);
}

bool beam_can(beam_backend *be, bool present, const char *op)
{
    be->busy = true;
    if (!present) {
        be->missing = op;
        be->status =
            BEAM_FAIL(BEAM_EDEVICE, "%s: beam_%s is not implemented; use backend: cpu", be->ops->name, op);
    }
    return present;
}

/* Dense. */

/* One of the two element types. */
static bool is_element(const beam_backend *be, beam_tensor t)
{
    return t.dtype == be->real || t.dtype == be->wide;
}

void beam_copy(beam_backend *be, beam_tensor y, beam_tensor x)
{
    if (!BEAM_CAN(be, copy))
        return;
    BEAM_ASSERT(beam_is(y, y.dtype, x.ndim, x.dim) && beam_is_like(x, x));
    BEAM_ASSERT(y.dtype == x.dtype || (is_element(be, y) && is_element(be, x)));
    be->ops->copy(be, y, x);
}

void beam_add(beam_backend *be, beam_tensor y, beam_tensor x)
{
    if (!BEAM_CAN(be, add))
        return;
    BEAM_ASSERT(is_element(be, y) && beam_is_like(x, y));
    be->ops->add(be, y, x);
}

void beam_gemm(beam_backend *be, beam_tensor c, beam_tensor a, bool ta, beam_tensor b, bool tb, double alpha,
               double beta)
{
    if (!BEAM_CAN(be, gemm))
        return;
    const int64_t m = beam_leading_dims(c), n = beam_last_dim(c),
                  k = ta ? beam_leading_dims(a) : beam_last_dim(a);
    BEAM_ASSERT(a.ndim >= 2 && c.ndim >= 2 && is_element(be, a) && is_element(be, b) && is_element(be, c));
    BEAM_ASSERT((ta ? beam_last_dim(a) : beam_leading_dims(a)) == m);
    BEAM_ASSERT(beam_is(b, b.dtype, BEAM_DIMS(tb ? n : k, tb ? k : n)));
    BEAM_ASSERT(m <= INT32_MAX && n <= INT32_MAX && k <= INT32_MAX);
    be->ops->gemm(be, c, a, ta, b, tb, alpha, beta);
}

void beam_add_bias(beam_backend *be, beam_tensor y, beam_tensor bias)
{
    if (!BEAM_CAN(be, add_bias))
        return;
    BEAM_ASSERT(is_element(be, y) && beam_is(y, y.dtype, y.ndim, y.dim) && beam_last_dim(y) > 0);
    BEAM_ASSERT(beam_is(bias, y.dtype, BEAM_DIMS(beam_last_dim(y))));
    be->ops->add_bias(be, y, bias);
}

void beam_bias_grad(beam_backend *be, beam_tensor dbias, beam_tensor dy)
{
    if (!BEAM_CAN(be, bias_grad))
        return;
    BEAM_ASSERT(beam_is(dy, be->real, dy.ndim, dy.dim) && beam_last_dim(dy) > 0);
    BEAM_ASSERT(beam_is(dbias, be->wide, BEAM_DIMS(beam_last_dim(dy))));
    be->ops->bias_grad(be, dbias, dy);
}

void beam_clip(beam_backend *be, beam_tensor x, double limit)
{
    if (!BEAM_CAN(be, clip))
        return;
    BEAM_ASSERT(beam_is(x, be->real, x.ndim, x.dim) && limit > 0);
    be->ops->clip(be, x, limit);
}

void beam_clip_grad(beam_backend *be, beam_tensor dx, beam_tensor x, double limit)
{
    if (!BEAM_CAN(be, clip_grad))
        return;
    BEAM_ASSERT(beam_is(x, be->real, x.ndim, x.dim) && beam_is_like(dx, x) && limit > 0);
    be->ops->clip_grad(be, dx, x, limit);
}

void beam_add_gated(beam_backend *be, beam_tensor y, beam_tensor x, beam_tensor score)
{
    if (!BEAM_CAN(be, add_gated))
        return;
    BEAM_ASSERT(beam_is(x, be->real, BEAM_DIMS(x.dim[0], x.dim[1])) && beam_is_like(y, x));
    BEAM_ASSERT(beam_is(score, be->wide, BEAM_DIMS(x.dim[0])));
    be->ops->add_gated(be, y, x, score);
}

void beam_add_gated_grad(beam_backend *be, beam_tensor dx, beam_tensor dscore, beam_tensor dy, beam_tensor x,
                         beam_tensor score)
{
    if (!BEAM_CAN(be, add_gated_grad))
        return;
    BEAM_ASSERT(beam_is(x, be->real, BEAM_DIMS(x.dim[0], x.dim[1])));
    BEAM_ASSERT(beam_is_like(dx, x) && beam_is_like(dy, x));
    BEAM_ASSERT(beam_is(score, be->wide, BEAM_DIMS(x.dim[0])) && beam_is_like(dscore, score));
    be->ops->add_gated_grad(be, dx, dscore, dy, x, score);
}

void beam_embed(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id)
{
    if (!BEAM_CAN(be, embed))
        return;
    const int64_t tokens = y.dim[0], width = y.dim[1];
    BEAM_ASSERT(beam_is(y, be->real, BEAM_DIMS(tokens, width)) ||
                beam_is(y, be->wide, BEAM_DIMS(tokens, width)));
    BEAM_ASSERT(beam_is(table, y.dtype, BEAM_DIMS(table.dim[0], width)));
    BEAM_ASSERT(beam_is(id, BEAM_I32, BEAM_DIMS(tokens)));
    be->ops->embed(be, y, table, id);
}

void beam_embed_grad(beam_backend *be, beam_tensor dtable, beam_tensor dy, beam_tensor id)
{
    if (!BEAM_CAN(be, embed_grad))
        return;
    const int64_t tokens = dy.dim[0], width = dy.dim[1];
    BEAM_ASSERT(beam_is(dy, be->real, BEAM_DIMS(tokens, width)));
    BEAM_ASSERT(beam_is(dtable, be->wide, BEAM_DIMS(dtable.dim[0], width)));
    BEAM_ASSERT(beam_is(id, BEAM_I32, BEAM_DIMS(tokens)));
    be->ops->embed_grad(be, dtable, dy, id);
}

void beam_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor inverse, beam_tensor x, beam_tensor weight,
                  double epsilon)
{
    if (!BEAM_CAN(be, rmsnorm))
        return;
    BEAM_ASSERT(x.dtype == be->real && beam_is_like(y, x) && beam_last_dim(x) > 0);
    BEAM_ASSERT(beam_is(weight, be->real, BEAM_DIMS(beam_last_dim(x))));
    BEAM_ASSERT(inverse.dtype == be->wide && beam_count(inverse) == beam_leading_dims(x));
    be->ops->rmsnorm(be, y, inverse, x, weight, epsilon);
}

void beam_rmsnorm_grad(beam_backend *be, beam_tensor dx, beam_tensor dweight, beam_tensor dy, beam_tensor x,
                       beam_tensor weight, beam_tensor inverse, double beta)
{
    if (!BEAM_CAN(be, rmsnorm_grad))
        return;
    BEAM_ASSERT(x.dtype == be->real && beam_is_like(dx, x) && beam_is_like(dy, x) && beam_last_dim(x) > 0);
    BEAM_ASSERT(beam_is(weight, be->real, BEAM_DIMS(beam_last_dim(x))));
    BEAM_ASSERT(beam_is_absent_or(dweight, be->wide, BEAM_DIMS(beam_last_dim(x))));
    BEAM_ASSERT(inverse.dtype == be->wide && beam_count(inverse) == beam_leading_dims(x));
    be->ops->rmsnorm_grad(be, dx, dweight, dy, x, weight, inverse, beta);
}

void beam_swiglu(beam_backend *be, beam_tensor y, beam_tensor gate_up, const beam_route *route,
                 beam_rows_of rows)
{
    if (!BEAM_CAN(be, swiglu))
        return;
    BEAM_ASSERT(beam_is(y, be->real, BEAM_DIMS(y.dim[0], y.dim[1])));
    BEAM_ASSERT(beam_is(gate_up, be->real, BEAM_DIMS(y.dim[0], 2 * y.dim[1])));
    BEAM_ASSERT(!route || beam_is_grouped(route, route->kept.dim[0]));
    be->ops->swiglu(be, y, gate_up, route, rows);
}

void beam_swiglu_grad(beam_backend *be, beam_tensor dgate_up, beam_tensor dy, beam_tensor gate_up)
{
    if (!BEAM_CAN(be, swiglu_grad))
        return;
    BEAM_ASSERT(beam_is(dy, be->real, BEAM_DIMS(dy.dim[0], dy.dim[1])));
    BEAM_ASSERT(beam_is(gate_up, be->real, BEAM_DIMS(dy.dim[0], 2 * dy.dim[1])) &&
                beam_is_like(dgate_up, gate_up));
    be->ops->swiglu_grad(be, dgate_up, dy, gate_up);
}

/* logits [T,V] go with what every token has one of. */
static bool have_targets(const beam_backend *be, beam_tensor logits, beam_tensor target, beam_tensor loss,
                         beam_tensor correct)
{
    const int64_t tokens = logits.dim[0];
    return beam_is(logits, be->real, BEAM_DIMS(tokens, logits.dim[1])) && logits.dim[1] > 0 &&
           beam_is(target, BEAM_I32, BEAM_DIMS(tokens)) && beam_is(loss, be->wide, BEAM_DIMS(tokens)) &&
           beam_is(correct, BEAM_U8, BEAM_DIMS(tokens));
}

void beam_cross_entropy(beam_backend *be, beam_tensor logits, beam_tensor target, beam_tensor loss,
                        beam_tensor correct, double grad_scale, bool want_grad)
{
    if (!BEAM_CAN(be, cross_entropy))
        return;
    BEAM_ASSERT(have_targets(be, logits, target, loss, correct));
    be->ops->cross_entropy(be, logits, target, loss, correct, grad_scale, want_grad);
}

void beam_distill(beam_backend *be, beam_tensor logits, beam_tensor teacher, beam_tensor target,
                  beam_tensor loss, beam_tensor divergence, beam_tensor correct,
                  const beam_distill_args *args)
{
    if (!BEAM_CAN(be, distill))
        return;
    BEAM_ASSERT(have_targets(be, logits, target, loss, correct));
    BEAM_ASSERT(beam_is_like(teacher, logits) && beam_is_like(divergence, loss));
    BEAM_ASSERT(args->weight >= 0 && args->weight <= 1 && args->temperature > 0);
    be->ops->distill(be, logits, teacher, target, loss, divergence, correct, args);
}

/* Update. */

void beam_adamw(beam_backend *be, beam_tensor value, beam_tensor grad, beam_tensor m, beam_tensor v,
                const beam_adamw_args *args)
{
    if (!BEAM_CAN(be, adamw))
        return;
    BEAM_ASSERT(value.dtype == be->wide && beam_is_like(grad, value) && beam_is_like(m, value) &&
                beam_is_like(v, value));
    BEAM_ASSERT(args->step >= 1);
    be->ops->adamw(be, value, grad, m, v, args);
}

void beam_sum_squares(beam_backend *be, beam_tensor sum, beam_tensor x)
{
    if (!BEAM_CAN(be, sum_squares))
        return;
    BEAM_ASSERT(beam_is(x, be->wide, BEAM_DIMS(x.dim[0], x.dim[1])) &&
                beam_is(sum, BEAM_F64, BEAM_DIMS(x.dim[0])));
    be->ops->sum_squares(be, sum, x);
}
