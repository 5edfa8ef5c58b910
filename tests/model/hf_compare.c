#include "model/hf_compare.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void hf_worst(double *worst, double error)
{
    if (!(error <= *worst))
        *worst = isnan(error) ? INFINITY : error;
}

static void compare_all(double *worst, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        hf_worst(worst, fabs((double)got[i] - (double)want[i]));
}

void hf_compare_number(double *worst, const hf_fixture *f, const char *name, double got)
{
    float *want = hf_fixture_expect(f, name, BEAM_F32, 1);
    hf_worst(worst, fabs(got - (double)*want));
    free(want);
}

void hf_compare_logits(hf_errors *e, const hf_fixture *f, beam_model *m, const char *form)
{
    char name[32];
    const int64_t n = f->batch.tokens * f->config.vocab_size;
    snprintf(name, sizeof name, "%s.logits", form);
    float *got = hf_fixture_logits(m, &f->batch), *want = hf_fixture_expect(f, name, BEAM_F32, n);
    compare_all(&e->logit, got, want, n);
    free(got);
    free(want);
}

static double norm(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* Of all expected tensors of that prefix, and their number. */
static double norm_of_all(const hf_fixture *f, const char *prefix, int64_t *number)
{
    double sum = 0;
    *number = 0;
    for (int64_t i = 0; i < beam_weights_count(f->expected); i++) {
        const beam_weight *w = beam_weights_at(f->expected, i);
        if (strncmp(w->name, prefix, strlen(prefix)) != 0)
            continue;
        const int64_t n = (int64_t)(w->bytes / sizeof(float));
        float *x = hf_fixture_expect(f, w->name, BEAM_F32, n);
        sum += pow(norm(x, n), 2);
        free(x);
        ++*number;
    }
    return sqrt(sum);
}

/* What the difference of a gradient is measured against; `all` is the norm of all of them. */
static double scale_of(const hf_fixture *f, const char *name, const float *want, int64_t n, double all)
{
    static const char scale[] = "router_scale", ranks[] = "rank_bias";
    double own = norm(want, n);
    const size_t stem = strlen(name) - strlen(scale);
    if (strlen(name) > strlen(scale) && strcmp(name + stem, scale) == 0) {
        char other[BEAM_NAME_MAX + 32];
        snprintf(other, sizeof other, "%.*s%s", (int)stem, name, ranks);
        float *x = hf_fixture_expect(f, other, BEAM_F32, f->config.top_k);
        own = hypot(own, norm(x, f->config.top_k));
        free(x);
    }
    return fmax(own, 1e-6 * all);
}

static void compare_gradient(hf_errors *e, const hf_fixture *f, beam_model *m, const beam_hf_tensor *t,
                             const char *name, double all)
{
    const int64_t n = t->rows * t->row;
    float *want = hf_fixture_expect(f, name, BEAM_F32, n), *got = calloc((size_t)n, sizeof *got);
    assert_non_null(got);
    const beam_param *p = &beam_model_params(m).at[t->param];
    hf_need(beam_hf_get(beam_model_backend(m), t, p->grad, 0, t->rows, got));
    const double against = scale_of(f, name, want, n, all);
    for (int64_t i = 0; i < n; i++)
        got[i] -= want[i];
    const double error = norm(got, n) / against;
    if (!(error <= e->gradient))
        snprintf(e->worst, sizeof e->worst, "%s", name);
    hf_worst(&e->gradient, error);
    free(want);
    free(got);
}

void hf_compare_gradients(hf_errors *e, const hf_fixture *f, beam_model *m, const char *prefix)
{
    int64_t expected, compared = 0;
    const bool every = strcmp(prefix, "base.grad.") == 0;
    const double all = norm_of_all(f, prefix, &expected);
    beam_hf_map map = hf_fixture_map(m);
    for (int64_t i = 0; i < map.n; i++) {
        char name[BEAM_NAME_MAX + 32];
        snprintf(name, sizeof name, "%s%s", prefix, map.at[i].name);
        if (!every && !beam_weights_find(f->expected, name))
            continue;
        compare_gradient(e, f, m, &map.at[i], name, all);
        compared++;
    }
    beam_hf_map_free(&map);
    if (compared != expected || expected == 0)
        fail_msg("%s: %lld tensors %s..., of which the model has %lld", f->variant, (long long)expected,
                 prefix, (long long)compared);
}

/* One layer's part of the expected "<form>.<what>" [layers,T,K]. */
static void *expected_layer(const hf_route_seen *seen, const char *what, int layer, beam_tensor shape,
                            beam_dtype dtype)
{
    char name[32];
    const int64_t n = beam_count(shape), layers = beam_moe_layers(&seen->fixture->config);
    const size_t bytes = (size_t)n * beam_dtype_size(dtype);
    snprintf(name, sizeof name, "%s.%s", seen->form, what);
    char *all = hf_fixture_expect(seen->fixture, name, dtype, layers * n);
    memmove(all, all + (size_t)layer * bytes, bytes);
    return all;
}

static void *downloaded(beam_backend *be, beam_tensor t)
{
    void *host = malloc(beam_bytes(t));
    assert_non_null(host);
    beam_download(be, host, t);
    hf_need(beam_sync(be));
    return host;
}

void hf_see_route(void *context, const beam_moe_seen *moe)
{
    hf_route_seen *seen = context;
    const beam_route *route = moe->route;
    const int layer = moe->layer;
    beam_backend *be = &seen->fixture->be;
    const beam_tensor shape = route->expert;
    int32_t *expert = downloaded(be, route->expert),
            *want_expert = expected_layer(seen, "expert", layer, shape, BEAM_I32);
    float *logit = downloaded(be, route->logit),
          *want_logit = expected_layer(seen, "logit", layer, shape, BEAM_F32);
    uint8_t *keep = downloaded(be, route->keep),
            *want_keep = expected_layer(seen, "keep", layer, shape, BEAM_U8);
    for (int64_t i = 0; i < beam_count(shape); i++)
        if (expert[i] != want_expert[i] || (fabsf(want_logit[i]) > 1e-5F && keep[i] != want_keep[i]))
            fail_msg("%s, %s, MoE layer %d, token %lld: candidate %d keep %d, expected %d keep %d",
                     seen->fixture->variant, seen->form, layer, (long long)(i / shape.dim[1]), expert[i],
                     keep[i], want_expert[i], want_keep[i]);
    compare_all(&seen->errors->mask_logit, logit, want_logit, beam_count(shape));
    seen->layers++;
    free(expert);
    free(want_expert);
    free(logit);
    free(want_logit);
    free(keep);
    free(want_keep);
}
