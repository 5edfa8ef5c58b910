/* Which queries and keys a block of attention works on. */
#ifndef BEAM_KERNELS_CUDA_ATTENTION_CUH
#define BEAM_KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/flash.cuh"

constexpr float log2_of_e = 1.44269504088896341f, ln_of_2 = 0.69314718055994531f;

/* q[T,H,Dh], k[T,G,Dh], v[T,G,Dv]. Scores are taken in units of ln 2, for exp2f. */
template <class T> struct attention_input {
    const T *q, *k, *v;
    const int32_t *first; /* [sequences + 1] */
    int sequences;
    int heads, groups, share; /* H, G, H / G */
    int width, value_width;
    int window; /* at most the number of tokens */
    float scale;
    bool aligned; /* of all rows, to 16 bytes */
};

/* Rows [at, at + n) of the sequence that starts at token `begin`. */
struct sequence_block {
    int64_t begin;
    int length;
    int at, n;
};

/* The block with this number. The blocks of sequence i are numbered from first[i] / height + i on, which
 * leaves room for as many as it can have, whatever its place; numbers left over name no block, and give
 * false. */
template <class T>
__device__ bool find_block(sequence_block *b, const attention_input<T> &in, int height, int64_t number)
{
    int low = 0, high = in.sequences; /* the sequence is in [low, high) */
    while (high - low > 1) {
        const int middle = low + (high - low) / 2;
        if (in.first[middle] / height + middle <= number)
            low = middle;
        else
            high = middle;
    }
    b->begin = in.first[low];
    b->length = in.first[low + 1] - in.first[low];
    const int64_t at = (number - in.first[low] / height - low) * height;
    b->at = static_cast<int>(at);
    b->n = static_cast<int>(min(static_cast<int64_t>(height), b->length - at));
    return b->n > 0;
}

/* Blocks of all sequences carry numbers below this, in a row of so many tokens. */
inline int64_t block_numbers(int64_t tokens, beam_sequences seq, int height)
{
    return seq.n > 0 ? tokens / height + seq.n : 0;
}

/* Queries [query, query + queries) before keys [key, key + keys), all counted from the start of their
 * sequence. */
struct pairing {
    int query, queries, key, keys, window;

    /* Query i of these, key j of these. */
    __device__ bool sees(int i, int j) const
    {
        const int back = query + i - key - j;
        return i < queries && back >= 0 && back < window;
    }

    /* Whether the first `height` queries all see all keys; any sees any. */
    __device__ bool all_seen(int height) const
    {
        return queries >= height && key + keys - 1 <= query && query + height - 1 - key < window;
    }

    __device__ bool any_seen() const
    {
        return queries > 0 && key <= query + queries - 1 && query - (key + keys - 1) < window;
    }
};

/* The first key that any of a block of queries sees. */
template <class T> __device__ int first_seen(const attention_input<T> &in, sequence_block queries)
{
    return max(0, queries.at - in.window + 1);
}

template <class T>
attention_input<T> make_input(beam_tensor q, beam_tensor k, beam_tensor v, beam_sequences seq,
                              beam_attention_rule rule)
{
    const int64_t tokens = q.dim[0];
    attention_input<T> in;
    in.q = data_of<T>(q);
    in.k = data_of<T>(k);
    in.v = data_of<T>(v);
    in.first = data_of<int32_t>(seq.first);
    in.sequences = seq.n;
    in.heads = static_cast<int>(q.dim[1]);
    in.groups = static_cast<int>(k.dim[1]);
    in.share = in.heads / in.groups;
    in.width = static_cast<int>(q.dim[2]);
    in.value_width = static_cast<int>(v.dim[2]);
    in.window = static_cast<int>(rule.window > 0 && rule.window < tokens ? rule.window : tokens);
    in.scale = static_cast<float>(rule.scale * static_cast<double>(log2_of_e));
    in.aligned = is_aligned<T>(in.width, in.q, in.k, in.v) && in.value_width % vector_of<T> == 0;
    return in;
}

template <int A, int B> struct head_widths {
};

/* Calls f with the smallest head_widths<keys', values'> that there are kernels for and that hold a head. */
template <class F> void with_head_widths(beam_backend *be, beam_tensor k, beam_tensor v, F f)
{
    const int64_t width = k.dim[2], value_width = v.dim[2], most = width > value_width ? width : value_width;
    if (most <= 64)
        f(head_widths<64, 64>());
    else if (most <= 128)
        f(head_widths<128, 128>());
    else if (width <= 192 && value_width <= 128)
        f(head_widths<192, 128>());
    else if (most <= 256)
        f(head_widths<256, 256>());
    else if (!be->status)
        be->status = BEAM_FAIL(BEAM_EDEVICE,
                               "cuda: heads of %lld numbers; its kernels take at most 256; use backend: cpu",
                               static_cast<long long>(most));
}

#endif
