/* Walks the rows that an op works on, expert by expert, in tiles. The threads of a parallel region share one
 * counter and each takes the tile whose number it draws; the numbers a thread draws only grow, so it finds
 * the tile from its last one and no table of tiles is needed.
 *
 *     int64_t drawn = 0;
 *     #pragma omp parallel
 *     {
 *         beam_row_tile t = {.route = route, .rows = rows, .height = 64, .parts = 1, .drawn = &drawn};
 *         while (beam_row_tile_next(&t))
 *             ... rows t.begin .. t.end of expert t.expert ...
 *     } */
#ifndef BEAM_KERNELS_CPU_ROWS_H
#define BEAM_KERNELS_CPU_ROWS_H

#include "kernels/backend.h"
#include "kernels/cpu/real.h"

typedef struct {
    const beam_route *route; /* NULL: all is one expert with `total` rows */
    beam_rows_of rows;
    int64_t total, height;            /* height of a tile */
    int64_t parts;                    /* every tile is drawn this often, as part 0 .. parts - 1 */
    int64_t *drawn;                   /* shared by the threads, from 0 */
    int64_t expert, begin, end, part; /* the current tile */
    int64_t tiles_before;             /* tiles of the experts before */
} beam_row_tile;

/* The rows of expert e that `rows` names are [*begin, *end). */
static inline void beam_expert_rows(const beam_route *route, int64_t e, beam_rows_of rows, int64_t *begin,
                                    int64_t *end)
{
    const int32_t *first = beam_i32(route->first);
    const int64_t middle = (int64_t)first[e] + beam_i32(route->kept)[e];
    *begin = rows == BEAM_ROWS_DROPPED ? middle : first[e];
    *end = rows == BEAM_ROWS_KEPT ? middle : first[e + 1];
}

/* Draws the next tile; false when there are no more. */
static inline bool beam_row_tile_next(beam_row_tile *t)
{
    const int64_t experts = t->route ? t->route->kept.dim[0] : 1;
    int64_t number;
#pragma omp atomic capture
    number = (*t->drawn)++;
    t->part = number % t->parts;
    number /= t->parts;
    for (; t->expert < experts; t->expert++) {
        int64_t first = 0, end = t->total;
        if (t->route)
            beam_expert_rows(t->route, t->expert, t->rows, &first, &end);
        const int64_t tiles = (end - first + t->height - 1) / t->height;
        if (number < t->tiles_before + tiles) {
            t->begin = first + (number - t->tiles_before) * t->height;
            t->end = end - t->begin < t->height ? end : t->begin + t->height;
            return true;
        }
        t->tiles_before += tiles;
    }
    return false;
}

#endif
