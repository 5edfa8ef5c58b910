/* Keys of latent attention. */
#include "ops/cases.h"

enum { OWN, SHARED, KEY, DKEY, DOWN, DSHARED };

/* N numbers of each head's own, R shared ones. */
static void latent_keys_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    op_variable(f, OWN, "own", 1, BEAM_DIMS(s->T, s->H, s->N));
    op_variable(f, SHARED, "shared", 1, BEAM_DIMS(s->T, s->R));
    op_output(f, KEY, "k", BEAM_DIMS(s->T, s->H, s->N + s->R));
    op_seed(f, DKEY, "dk", KEY);
    op_gradient(f, DOWN, "down", OWN);
    op_gradient(f, DSHARED, "dshared", SHARED);
    f->back.flops = (double)(s->T * s->H * s->R);
}

static void latent_keys_run(op_fixture *f)
{
    beam_latent_keys(f->be, f->t[KEY], f->t[OWN], f->t[SHARED]);
}

static void latent_keys_back(op_fixture *f)
{
    beam_latent_keys_grad(f->be, f->t[DOWN], f->t[DSHARED], f->t[DKEY]);
}

const op_kind op_latent_keys = {"latent_keys", latent_keys_build, latent_keys_run, latent_keys_back};
