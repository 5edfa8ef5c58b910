#include "kernels/decode/experts.h"

#include "kernels/cpu/vec.h"

enum {
    GROUP = 8,     /* of interleaved rows: so many gate rows, then as many up rows */
    MOST_ROWS = 64 /* of a piece of gate_up: its products stand on the stack */
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows of a piece of gate_up: whole groups. */
static int64_t up_piece(const beam_expert_work *w)
{
    const int64_t rows = least(beam_thin_piece(w->gate_up), MOST_ROWS) / (2 * GROUP) * (2 * GROUP);
    return rows < 2 * GROUP ? 2 * GROUP : rows;
}

static int64_t pieces_of(int64_t rows, int64_t piece)
{
    return (rows + piece - 1) / piece;
}

/* act[n] from n gate products and n up products behind them. */
static void activate(float *act, const float *gate, int64_t n)
{
    const float *up = gate + n;
    for (int64_t i = 0; i < n; i++)
        act[i] = gate[i] * beam_sigmoid(gate[i]) * up[i];
}

/* Piece number `piece` of gate_up and the activations that follow from it. */
static void run_up(const beam_expert_work *w, int64_t piece)
{
    const int64_t height = up_piece(w), first = piece * height, width = w->down.width;
    const beam_matrix rows = beam_matrix_rows(w->gate_up, first, least(height, w->gate_up.rows - first));
    float product[BEAM_THIN_TOKENS * MOST_ROWS];
    for (int64_t t = 0; t < w->tokens; t += BEAM_THIN_TOKENS) {
        const int64_t n = least(BEAM_THIN_TOKENS, w->tokens - t);
        beam_thin_dots(product, rows.rows, rows, w->x + t, n);
        for (int64_t i = 0; i < n; i++)
            for (int64_t r = 0; r < rows.rows; r += 2 * GROUP)
                activate(w->act + (t + i) * width + (first + r) / 2, product + i * rows.rows + r,
                         least(2 * GROUP, rows.rows - r) / 2);
    }
}

static void run_down(const beam_expert_work *w, int64_t piece)
{
    const int64_t height = beam_thin_piece(w->down), first = piece * height, width = w->down.width;
    const beam_matrix rows = beam_matrix_rows(w->down, first, least(height, w->down.rows - first));
    for (int64_t t = 0; t < w->tokens; t += BEAM_THIN_TOKENS) {
        const int64_t n = least(BEAM_THIN_TOKENS, w->tokens - t);
        const float *in[BEAM_THIN_TOKENS];
        for (int64_t i = 0; i < n; i++)
            in[i] = w->act + (t + i) * width;
        beam_thin_dots(w->out + t * w->down.rows + first, w->down.rows, rows, in, n);
    }
}

/* The entry of the list that a piece belongs to: the last one that starts at or before it. */
static const beam_expert_work *owner(const beam_expert_work *work, int64_t n, int64_t piece, bool up)
{
    int64_t low = 0, high = n;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if ((up ? work[middle].first_up : work[middle].first_down) <= piece)
            low = middle;
        else
            high = middle;
    }
    return work + low;
}

void beam_experts_run(int threads, beam_expert_work *work, int64_t n)
{
    int64_t ups = 0, downs = 0;
    for (int64_t i = 0; i < n; i++) {
        work[i].first_up = ups;
        work[i].first_down = downs;
        ups += pieces_of(work[i].gate_up.rows, up_piece(&work[i]));
        downs += pieces_of(work[i].down.rows, beam_thin_piece(work[i].down));
    }
    if (n == 0)
        return;
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < ups; i++) {
            const beam_expert_work *w = owner(work, n, i, true);
            run_up(w, i - w->first_up);
        }
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < downs; i++) {
            const beam_expert_work *w = owner(work, n, i, false);
            run_down(w, i - w->first_down);
        }
    }
}
