/* Differences between a model and the expected values of its fixture, each the largest so far. */
#ifndef BEAM_TESTS_MODEL_HF_COMPARE_H
#define BEAM_TESTS_MODEL_HF_COMPARE_H

#include "model/hf_fixture.h"

typedef struct {
    double logit, mask_logit, loss, adamw; /* absolute */
    double gradient;                       /* of a tensor, relative in L2 */
    char worst[BEAM_NAME_MAX + 32];        /* the tensor of that gradient */
} hf_errors;

/* Keeps the larger of the two; NaN counts as infinite. */
void hf_worst(double *worst, double error);

/* |got - expected number `name`|. */
void hf_compare_number(double *worst, const hf_fixture *f, const char *name, double got);

/* Logits of the last forward pass with "<form>.logits". */
void hf_compare_logits(hf_errors *e, const hf_fixture *f, beam_model *m, const char *form);

/* Gradients with all expected tensors "<prefix><published name>", which for "base.grad." must be every
 * gradient of the model: |difference| / |expected| of each tensor. Where cancellation leaves no digits,
 * larger numbers stand for |expected|: at least 1e-6 of the norm of all the tensors; and a gate's
 * router_scale, one sum over all tokens and ranks of what rank_bias sums rank by rank, is measured together
 * with rank_bias. */
void hf_compare_gradients(hf_errors *e, const hf_fixture *f, beam_model *m, const char *prefix);

/* Observer (beam_moe_observer, context hf_route_seen): candidates and keep decisions must be those expected
 * of `form`, the latter where the mask logit is not within 1e-5 of the threshold; mask logits are compared.
 */
typedef struct {
    hf_fixture *fixture;
    const char *form;
    hf_errors *errors;
    int64_t layers; /* seen so far */
} hf_route_seen;
void hf_see_route(void *context, const beam_moe_seen *moe);

#endif
