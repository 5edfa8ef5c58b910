/* The moving half of model/hf_map.h. */
#include "model/hf_map.h"
#include "model/load.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t beam_hf_chunk(const beam_hf_tensor *t, int64_t first)
{
    const int64_t rows = t->row < BEAM_HF_CHUNK ? BEAM_HF_CHUNK / t->row : 1;
    return least(rows, t->rows - first);
}

int64_t beam_hf_longest_chunk(const beam_hf_map *map)
{
    int64_t most = 1;
    for (int64_t i = 0; i < map->n; i++) {
        const int64_t n = beam_hf_chunk(&map->at[i], 0) * map->at[i].row;
        most = n > most ? n : most;
    }
    return most;
}

/* The row of the parameter where row r of the run stands; *follow rows from r on stand one after the other.
 * `rows` is the number of rows of the parameter, or of one of its experts. */
static int64_t place(const beam_hf_tensor *t, int64_t rows, int64_t r, int64_t *follow)
{
    const int64_t start = t->expert * rows;
    if (t->part == BEAM_PART_WHOLE) {
        *follow = t->rows - r;
        return start + r;
    }
    if (t->part == BEAM_PART_GATE || t->part == BEAM_PART_UP) {
        *follow = least(8 - r % 8, t->rows - r);
        return start + beam_interleave_row(r, t->part == BEAM_PART_UP, rows / 2);
    }
    const int64_t head = r / t->head, i = r % t->head, rest = t->head - t->split;
    const bool lead = i < t->split;
    if (t->part == BEAM_PART_KEY_VALUE) {
        *follow = lead ? t->split - i : t->head - i;
        return lead ? head * t->split + i : rows / t->head * t->split + head * rest + i - t->split;
    }
    *follow = lead ? t->split - i : 1;
    const int64_t j = i - t->split; /* neighbours 2i, 2i + 1 become halves i, i + rest / 2 */
    return lead ? r : head * t->head + t->split + j / 2 + j % 2 * (rest / 2);
}

/* The view of `param` where the rows from row r on of the run stand together, none beyond row `end`. */
static beam_tensor piece(const beam_hf_tensor *t, beam_tensor param, int64_t r, int64_t end)
{
    int64_t follow;
    const int64_t all = beam_count(param) / t->row;
    const int64_t to = place(t, param.ndim == 3 ? param.dim[1] : all, r, &follow);
    return beam_rows(beam_reshape(param, BEAM_DIMS(all, t->row)), to, least(follow, end - r));
}

beam_status beam_hf_put(beam_backend *be, const beam_hf_tensor *t, beam_tensor param, int64_t first,
                        int64_t n, const float *rows)
{
    BEAM_ASSERT(first >= 0 && n >= 0 && first + n <= t->rows);
    for (int64_t r = first; r < first + n;) {
        const beam_tensor to = piece(t, param, r, first + n);
        const float *from = rows + (r - first) * t->row;
        if (to.dtype == BEAM_F32)
            beam_upload(be, to, from);
        else
            BEAM_TRY(beam_tensor_set_f32(be, to, from));
        r += to.dim[0];
    }
    return be->status;
}

beam_status beam_hf_get(beam_backend *be, const beam_hf_tensor *t, beam_tensor param, int64_t first,
                        int64_t n, float *rows)
{
    BEAM_ASSERT(first >= 0 && n >= 0 && first + n <= t->rows);
    for (int64_t r = first; r < first + n;) {
        const beam_tensor from = piece(t, param, r, first + n);
        float *to = rows + (r - first) * t->row;
        if (from.dtype == BEAM_F32)
            beam_download(be, to, from);
        else
            BEAM_TRY(beam_tensor_get_f32(be, from, to));
        r += from.dim[0];
    }
    return beam_sync(be);
}
