/* What products of matrices are cut into: tiles of c[m,n] = op(a)[m,k] op(b)[k,n], each the work of one
 * block. ffma.cuh computes a tile in float32 from any types and strides, mma.cuh with tensor cores; either
 * ends its reading with a barrier, so that what it read can be written anew.
 *
 * Every number of c is one sum over k in a fixed order that knows neither its place in the tile nor the other
 * rows and columns, so that a row has the same bits whatever it is computed with. */
#ifndef BEAM_KERNELS_CUDA_TILE_CUH
#define BEAM_KERNELS_CUDA_TILE_CUH

#include "kernels/cuda/math.cuh"

/* Loops over sums that are kept in registers, where an index must be known while compiling. */
#ifdef BEAM_SIMT
#define BEAM_UNROLL
#else
#define BEAM_UNROLL _Pragma("unroll")
#endif

constexpr int tile_size = 128; /* rows and columns of a tile */

inline int64_t tiles_of(int64_t n)
{
    return ceil_div(n, tile_size);
}

/* op(a), or the transpose of op(b): "outer" counts rows or columns of c, k the inner dimension. Lines are
 * contiguous; they lie along k or across it. */
template <class T> struct factor {
    const T *at;
    int64_t step; /* from line to line */
    bool along;
    bool aligned; /* lines start at multiples of 16 bytes */

    __device__ const T *address(int64_t outer, int64_t k) const
    {
        return at + (along ? outer * step + k : k * step + outer);
    }

    __device__ factor from(int64_t outer, int64_t k) const
    {
        return {address(outer, k), step, along, aligned};
    }
};

template <class T> factor<T> factor_of(const void *data, int64_t step, bool along)
{
    return {static_cast<const T *>(data), step, along, is_aligned<T>(step, data)};
}

/* op(a) whose lines are gathered: row `outer` of the tile is line line[outer]. They lie along k. */
template <class T> struct gathered {
    const T *at;
    int64_t step;
    bool aligned;
    const int *line; /* [tile_size], in shared memory */
    static constexpr bool along = true;

    __device__ const T *address(int64_t outer, int64_t k) const
    {
        return at + line[outer] * step + k;
    }
};

/* The product seen from the first row and column of a tile: m rows, n columns and k numbers are left from
 * there, maybe more than the tile takes. A is factor or gathered, B is factor. */
template <class A, class B> struct tile_product {
    A a;
    B b;
    int m, n, k;
};
template <class A, class B> tile_product(A, B, int, int, int) -> tile_product<A, B>;

/* Where a tile goes: c = alpha * sum + beta * c, from the tile's first number on. This is all that a kernel
 * knows of what happens to its sums; another output may do more with them. */
template <class T> struct tile_output {
    T *c;
    int64_t step;
    float alpha, beta;
    bool aligned; /* as in factor */

    /* N columns, of which the first is a multiple of N; for an aligned output. */
    template <int N> __device__ void put_vector(int64_t row, int64_t column, pack<float, N> x) const
    {
        T *to = c + row * step + column;
        if (beta != 0) {
            const pack<float, N> old = load<N>(to);
            for (int i = 0; i < N; i++)
                x.at[i] = alpha * x.at[i] + beta * old.at[i];
        } else {
            for (int i = 0; i < N; i++)
                x.at[i] *= alpha;
        }
        store(to, x);
    }

    /* `left`: how many columns of c begin at x.at[0], or less than 1. */
    template <int N> __device__ void put_run(int64_t row, int64_t column, int left, pack<float, N> x) const
    {
        if (aligned && left >= N) {
            put_vector(row, column, x);
            return;
        }
        T *to = c + row * step + column;
        for (int i = 0; i < N; i++)
            if (i < left)
                to[i] = from_float<T>(beta != 0 ? alpha * x.at[i] + beta * to_float(to[i]) : alpha * x.at[i]);
    }

    /* Of lane (g, t) of a warp: columns 2t, 2t + 1 of two neighboring groups of 8, in rows that depend on g
     * only. The lanes of a row exchange halves, so that each stores 4 columns of one group and together they
     * fill whole sectors of memory. The output is aligned, so n is a multiple of 4. */
    __device__ void put_groups(int row, bool inside, int column, int n, const float *first,
                               const float *second) const
    {
        const int t = static_cast<int>(threadIdx.x) % 4;
        const bool odd = t % 2 == 1;
        float got[2];
        for (int i = 0; i < 2; i++)
            got[i] = __shfl_xor_sync(0xffffffffu, odd ? first[i] : second[i], 1);
        const pack<float, 4> x = odd ? pack<float, 4>{{got[0], got[1], second[0], second[1]}}
                                     : pack<float, 4>{{first[0], first[1], got[0], got[1]}};
        const int mine = column + (odd ? 8 + 2 * (t - 1) : 2 * t);
        if (inside && mine < n)
            put_vector(row, mine, x);
    }
};

/* c = sum, and act = silu(gate) up of columns that are gates and ups in groups of 8, unless act is NULL; of
 * the numbers that are stored, so that it has the bits of beam_swiglu. */
template <class T> struct swiglu_output : tile_output<T> {
    T *act; /* lines of step / 2 */

    __device__ swiglu_output from(int64_t row, int64_t column) const
    {
        swiglu_output to = *this;
        to.c += row * to.step + column;
        to.act += to.act ? (row * to.step + column) / 2 : 0;
        to.alpha = 1; /* known while compiling */
        to.beta = 0;
        return to;
    }

    /* With act, column and n are multiples of 16: `first` are gates, `second` their ups. */
    __device__ void put_groups(int row, bool inside, int column, int n, const float *first,
                               const float *second) const
    {
        tile_output<T>::put_groups(row, inside, column, n, first, second);
        if (!act || !inside || column >= n)
            return;
        pack<float, 2> x;
        for (int i = 0; i < 2; i++)
            x.at[i] = silu_times(to_float(from_float<T>(first[i])), to_float(from_float<T>(second[i])));
        store(act + row * (this->step / 2) + column / 2 + static_cast<int>(threadIdx.x) % 4 * 2, x);
    }
};

/* act of a product whose tiles can make it: groups of 8 gates and 8 ups are whole. NULL: wanted or not, they
 * do not. */
inline bf16 *act_of_tiles(const beam_grouped_product *p)
{
    const bool whole = p->act.data && p->act.dim[1] % 8 == 0 && is_aligned<bf16>(p->act.dim[1], p->act.data);
    return whole ? data_of<bf16>(p->act) : nullptr;
}

template <class T> tile_output<T> output_to(void *data, int64_t step, double alpha, double beta)
{
    return {static_cast<T *>(data), step, static_cast<float>(alpha), static_cast<float>(beta),
            is_aligned<T>(step, data)};
}

#endif
