/* The only place for PTX: one function for each instruction that CUDA C++ has no name for, each with a body
 * for the host that does the same. Fragments are laid out as in the PTX manual: lane = 4 * g + t. */
#ifndef BEAM_KERNELS_CUDA_PTX_CUH
#define BEAM_KERNELS_CUDA_PTX_CUH

#ifdef BEAM_SIMT
#include "core/bf16.h"
#include "kernels/cuda/simt.h"
#else
#include <stdint.h>
#endif

__device__ inline uint16_t ptx_bf16_bits(float x)
{
#ifdef BEAM_SIMT
    return beam_f32_to_bf16(x);
#else
    uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
#endif
}

/* Two numbers in one register, `low` in its low half. */
__device__ inline uint32_t ptx_bf16_pair(float low, float high)
{
#ifdef BEAM_SIMT
    return ptx_bf16_bits(low) | static_cast<uint32_t>(ptx_bf16_bits(high)) << 16;
#else
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#endif
}

#ifndef BEAM_SIMT
__device__ inline uint32_t ptx_shared_address(const void *p)
{
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
#endif

/* Copies 16 bytes from global to shared memory in the background; of them the first `used`, the rest is 0.
 * Both addresses are multiples of 16; `from` must be valid memory only where used > 0. */
__device__ inline void ptx_copy_async(void *to, const void *from, int used)
{
#ifdef BEAM_SIMT
    simt::copy_later(to, from, static_cast<size_t>(used), 16);
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(ptx_shared_address(to)), "l"(from),
                 "r"(used)
                 : "memory");
#endif
}

/* Closes the group of the copies since the last one. */
__device__ inline void ptx_copy_commit()
{
#ifdef BEAM_SIMT
    simt::commit_copies();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Waits until at most `Pending` of this thread's newest groups are still under way. Other threads see the
 * copies after a __syncthreads. */
template <int Pending> __device__ inline void ptx_copy_wait()
{
#ifdef BEAM_SIMT
    simt::wait_copies(Pending);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#endif
}

/* Asks for the 128 bytes around p, global memory, to be brought into the L2 cache. */
__device__ inline void ptx_prefetch(const void *p)
{
#ifdef BEAM_SIMT
    (void)*static_cast<const volatile char *>(p); /* a wrong address shows */
#else
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
#endif
}

/* Reads p; what its writer did before writing it is then visible, on the whole device. */
__device__ inline int32_t ptx_load_acquire(const int32_t *p)
{
#ifdef BEAM_SIMT
    return *p;
#else
    int32_t x;
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(x) : "l"(p) : "memory");
    return x;
#endif
}

#ifdef BEAM_SIMT
/* Lane l gives the address of row l % 8 of matrix l / 8; every matrix is 8 rows of 8 numbers of 16 bits. */
template <bool Transposed> inline void simt_load_matrices(uint32_t r[4], const void *row)
{
    const simt::lanes<const void *> rows = simt::exchange(0xffffffffu, row);
    const unsigned g = simt::lane() / 4, t = simt::lane() % 4;
    for (unsigned m = 0; m < 4; m++)
        for (unsigned half = 0; half < 2; half++) {
            const unsigned i = Transposed ? 2 * t + half : g, j = Transposed ? g : 2 * t + half;
            uint16_t x;
            std::memcpy(&x, static_cast<const char *>(rows.at[8 * m + i]) + 2 * j, sizeof x);
            r[m] = half ? r[m] | static_cast<uint32_t>(x) << 16 : x;
        }
}
#endif

/* Four 8x8 matrices of 16-bit numbers from shared memory: lane l gives the address of row l % 8 of matrix l /
 * 8, a multiple of 16 bytes. r[m] of lane (g, t) is the pair of columns 2t, 2t + 1 of row g of matrix m. */
__device__ inline void ptx_load_matrices(uint32_t r[4], const void *row)
{
#ifdef BEAM_SIMT
    simt_load_matrices<false>(r, row);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(ptx_shared_address(row))
                 : "memory");
#endif
}

/* The same of the transposed matrices: rows 2t, 2t + 1 of column g. */
__device__ inline void ptx_load_matrices_transposed(uint32_t r[4], const void *row)
{
#ifdef BEAM_SIMT
    simt_load_matrices<true>(r, row);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(ptx_shared_address(row))
                 : "memory");
#endif
}

#ifdef BEAM_SIMT
/* The lanes' fragments of one product. */
struct simt_fragments {
    uint32_t a[4], b[2];
};
#endif

/* d[16,8] += a[16,16] b[16,8] of a warp, bf16 in, float sums. Of lane (g, t):
 *   a[0] row g, columns 2t, 2t+1; a[1] row g+8; a[2] row g, columns 2t+8, 2t+9; a[3] row g+8;
 *   b[0] rows 2t, 2t+1 of column g; b[1] rows 2t+8, 2t+9;
 *   d[0], d[1] row g, columns 2t, 2t+1; d[2], d[3] row g+8. */
__device__ inline void ptx_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
#ifdef BEAM_SIMT
    const simt::lanes<simt_fragments> all =
        simt::exchange(0xffffffffu, simt_fragments{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
    const unsigned g = simt::lane() / 4, t = simt::lane() % 4;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = g + i / 2 * 8, column = 2 * t + i % 2;
        float sum = 0;
        for (unsigned k = 0; k < 16; k++) {
            const uint32_t x = all.at[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2];
            const uint32_t y = all.at[column * 4 + k % 8 / 2].b[k / 8];
            sum += beam_bf16_to_f32(static_cast<uint16_t>(x >> k % 2 * 16)) *
                   beam_bf16_to_f32(static_cast<uint16_t>(y >> k % 2 * 16));
        }
        d[i] += sum;
    }
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/* x rounded to tf32: 10 bits behind the point, kept in a float's bits. */
__device__ inline uint32_t ptx_tf32_bits(float x)
{
#ifdef BEAM_SIMT
    const uint32_t u = __float_as_uint(x);
    return (u & 0x7fffffffu) >= 0x7f800000u ? u : (u + 0x1000u) & ~0x1fffu; /* ties away from 0 */
#else
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
#endif
}

/* d[16,8] += a[16,8] b[8,8] of a warp, tf32 in, float sums. Of lane (g, t): a[0] (g, t), a[1] (g+8, t),
 * a[2] (g, t+4), a[3] (g+8, t+4); b[0] (t, g), b[1] (t+4, g); d as in ptx_mma_bf16. */
__device__ inline void ptx_mma_tf32(float d[4], const uint32_t a[4], const uint32_t b[2])
{
#ifdef BEAM_SIMT
    const simt::lanes<simt_fragments> all =
        simt::exchange(0xffffffffu, simt_fragments{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
    const unsigned g = simt::lane() / 4, t = simt::lane() % 4;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = g + i / 2 * 8, column = 2 * t + i % 2;
        float sum = 0;
        for (unsigned k = 0; k < 8; k++)
            sum += __uint_as_float(all.at[row % 8 * 4 + k % 4].a[row / 8 + k / 4 * 2] & ~0x1fffu) *
                   __uint_as_float(all.at[column * 4 + k % 4].b[k / 4] & ~0x1fffu);
        d[i] += sum;
    }
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

#endif
