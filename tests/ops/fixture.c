#include "ops/fixture.h"

#include <stdio.h>
#include <string.h>

#include "ops/cases.h"
#include "support/compare.h"
#include "support/values.h"

static void build(op_fixture *f)
{
    memset(f->slot, 0, sizeof f->slot);
    f->run.flops = f->back.flops = 0;
    f->what->op->build(f);
}

static void count_bytes(op_fixture *f)
{
    f->run.bytes = f->back.bytes = 0;
    for (int i = 0; i < OP_SLOTS; i++) {
        const op_slot *s = &f->slot[i];
        if (!s->name)
            continue;
        const double bytes = (double)beam_bytes(s->host);
        const bool both = s->role == OP_INPUT || s->role == OP_VARIABLE || s->role == OP_OUTPUT;
        f->run.bytes += both ? bytes : 0;
        f->back.bytes += bytes;
    }
}

void op_open(op_fixture *f, const op_case *what, beam_backend *be)
{
    *f = (op_fixture){.what = what, .shape = what->shape, .be = be, .host = test_block_measure()};
    build(f);
    test_block_place(&f->host);
    build(f);
    count_bytes(f);
    const int64_t size[] = {(int64_t)f->host.size};
    f->local = beam_view(beam_alloc(be, f->host.size, what->name), BEAM_U8, 1, size);
    for (int i = 0; i < OP_SLOTS; i++)
        if (f->slot[i].name && f->local.data)
            f->t[i] = f->slot[i].local = test_block_in(&f->host, f->slot[i].host, f->local.data);
    op_reset(f);
}

void op_close(op_fixture *f)
{
    beam_free(f->be, f->local.data);
    test_block_free(&f->host);
}

void op_reset(op_fixture *f)
{
    if (f->local.data)
        beam_upload(f->be, f->local, f->host.bytes);
}

void op_results(op_fixture *f, char *image)
{
    beam_download(f->be, image, f->local);
    beam_sync(f->be);
}

beam_tensor op_in(const op_fixture *f, int i, char *image)
{
    return test_block_in(&f->host, f->slot[i].host, image);
}

bool op_unharmed(const op_fixture *f, char *image)
{
    bool ok = test_block_guards(&f->host, image);
    for (int i = 0; i < OP_SLOTS; i++) {
        const op_slot *s = &f->slot[i];
        const bool fixed = s->role == OP_INPUT || s->role == OP_VARIABLE || s->role == OP_SEED;
        if (!s->name || !fixed)
            continue;
        char what[128];
        snprintf(what, sizeof what, "%s: input %s", f->what->name, s->name);
        ok = test_same(what, op_in(f, i, image), s->host) && ok;
    }
    return ok;
}

beam_tensor op_declare(op_fixture *f, int i, const char *name, op_role role, beam_dtype t, int ndim,
                       const int64_t dim[])
{
    BEAM_ASSERT(i >= 0 && i < OP_SLOTS && !f->slot[i].name);
    const beam_tensor host = test_block_push(&f->host, t, ndim, dim);
    f->slot[i] = (op_slot){.name = name, .host = host, .role = role, .of = -1};
    return host;
}

static beam_tensor declare_normal(op_fixture *f, int i, const char *name, op_role role, beam_dtype t,
                                  double scale, int ndim, const int64_t dim[])
{
    const beam_tensor v = op_declare(f, i, name, role, t, ndim, dim);
    test_fill_normal(v, name, scale);
    return v;
}

beam_tensor op_variable(op_fixture *f, int i, const char *name, double scale, int ndim, const int64_t dim[])
{
    return declare_normal(f, i, name, OP_VARIABLE, f->be->real, scale, ndim, dim);
}

beam_tensor op_wide_variable(op_fixture *f, int i, const char *name, double scale, int ndim,
                             const int64_t dim[])
{
    return declare_normal(f, i, name, OP_VARIABLE, f->be->wide, scale, ndim, dim);
}

beam_tensor op_input(op_fixture *f, int i, const char *name, double scale, int ndim, const int64_t dim[])
{
    return declare_normal(f, i, name, OP_INPUT, f->be->real, scale, ndim, dim);
}

beam_tensor op_wide_input(op_fixture *f, int i, const char *name, double scale, int ndim, const int64_t dim[])
{
    return declare_normal(f, i, name, OP_INPUT, f->be->wide, scale, ndim, dim);
}

beam_tensor op_output(op_fixture *f, int i, const char *name, int ndim, const int64_t dim[])
{
    return op_declare(f, i, name, OP_OUTPUT, f->be->real, ndim, dim);
}

beam_tensor op_wide_output(op_fixture *f, int i, const char *name, int ndim, const int64_t dim[])
{
    return op_declare(f, i, name, OP_OUTPUT, f->be->wide, ndim, dim);
}

beam_tensor op_seed(op_fixture *f, int i, const char *name, int of)
{
    const beam_tensor out = f->slot[of].host;
    const beam_tensor v = declare_normal(f, i, name, OP_SEED, out.dtype, 1, out.ndim, out.dim);
    f->slot[i].of = of;
    return v;
}

static beam_tensor declare_gradient(op_fixture *f, int i, const char *name, int of, beam_dtype t)
{
    const beam_tensor x = f->slot[of].host;
    const beam_tensor v = op_declare(f, i, name, OP_GRADIENT, t, x.ndim, x.dim);
    f->slot[i].of = of;
    return v;
}

static beam_tensor declare_added(op_fixture *f, int i, const char *name, int of, beam_dtype t, double carry)
{
    const beam_tensor v = declare_gradient(f, i, name, of, t);
    f->slot[i].carry = carry;
    test_fill_normal(v, name, 1);
    return v;
}

beam_tensor op_gradient(op_fixture *f, int i, const char *name, int of)
{
    return declare_gradient(f, i, name, of, f->slot[of].host.dtype);
}

beam_tensor op_wide_gradient(op_fixture *f, int i, const char *name, int of)
{
    return declare_gradient(f, i, name, of, f->be->wide);
}

beam_tensor op_added(op_fixture *f, int i, const char *name, int of, double carry)
{
    return declare_added(f, i, name, of, f->slot[of].host.dtype, carry);
}

beam_tensor op_wide_added(op_fixture *f, int i, const char *name, int of)
{
    return declare_added(f, i, name, of, f->be->wide, 1);
}
