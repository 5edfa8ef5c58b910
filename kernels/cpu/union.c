/* The batch-union penalty: how many experts a group of tokens touches when it is decoded at once. */
#include <string.h>

#include "kernels/cpu/cpu.h"

enum { CHUNKS = 64 };

typedef struct {
    const beam_route *route;
    const uint8_t *counted;
    int64_t stride, size; /* from one token of a group to the next, and how many there are */
} token_groups;

static void fill_ones(double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = 1;
}

/* untouched[E] = the product of 1 - q over the counted tokens of group i. dgate of each pair holds what that
 * product was before it. Returns the number of counted tokens. */
static int64_t walk_forward(const token_groups *g, int64_t i, double *untouched, real *dgate)
{
    const int64_t K = g->route->expert.dim[1];
    int64_t n = 0;
    fill_ones(untouched, g->route->kept.dim[0]);
    for (int64_t t = i; t < i + g->size * g->stride; t += g->stride) {
        n += g->counted[t] != 0;
        for (int64_t r = t * K; g->counted[t] && r < (t + 1) * K; r++) {
            double *product = untouched + beam_i32(g->route->expert)[r];
            dgate[r] = (real)*product;
            *product *= 1 - (double)beam_real(g->route->gate)[r];
        }
    }
    return n;
}

/* dgate becomes scale times the product before the pair times that after it. No division: a factor of exactly
 * 0 (q = 1) is like any other. */
static void walk_back(const token_groups *g, int64_t i, double *untouched, real *dgate, double scale)
{
    const int64_t K = g->route->expert.dim[1];
    fill_ones(untouched, g->route->kept.dim[0]);
    for (int64_t t = i + (g->size - 1) * g->stride; t >= 0; t -= g->stride)
        for (int64_t r = t * K; r < (t + 1) * K; r++) {
            double *product = untouched + beam_i32(g->route->expert)[r];
            dgate[r] = g->counted[t] ? (real)(scale * (double)dgate[r] * *product) : 0;
            if (g->counted[t])
                *product *= 1 - (double)beam_real(g->route->gate)[r];
        }
}

/* U of a group from the products over its tokens. */
static double union_of(const double *untouched, int64_t E)
{
    double sum = 0;
    for (int64_t e = 0; e < E; e++)
        sum += 1 - untouched[e];
    return sum / (double)E;
}

/* The groups fall into CHUNKS runs, whatever the number of threads, whose sums are added in order. */
void beam_cpu_union_penalty(beam_backend *be, beam_tensor dgate, beam_tensor sum, const beam_route *route,
                            beam_tensor counted, int64_t group, double weight)
{
    const int64_t tokens = route->expert.dim[0], K = route->expert.dim[1], E = route->kept.dim[0];
    const int64_t groups = tokens / group, rest = group * groups;
    const token_groups g = {.route = route, .counted = counted.data, .stride = groups, .size = group};
    double touched[CHUNKS] = {0};
    int64_t used[CHUNKS] = {0};
    BEAM_ASSERT(E <= BEAM_CPU_SCRATCH / (CHUNKS * (int64_t)sizeof(double)));
#pragma omp parallel for num_threads(be->threads) schedule(dynamic)
    for (int64_t c = 0; c < CHUNKS; c++) {
        double *untouched = (double *)beam_cpu_scratch(be) + c * E;
        for (int64_t i = c * groups / CHUNKS; i < (c + 1) * groups / CHUNKS; i++) {
            used[c] += walk_forward(&g, i, untouched, dgate.data) > 0;
            touched[c] += union_of(untouched, E);
            walk_back(&g, i, untouched, dgate.data, weight / (double)E);
        }
    }
    memset(beam_real(dgate) + rest * K, 0, (size_t)((tokens - rest) * K) * sizeof(real));
    for (int64_t c = 0; c < CHUNKS; c++) {
        ((double *)sum.data)[0] += touched[c];
        ((double *)sum.data)[1] += (double)used[c];
    }
}
