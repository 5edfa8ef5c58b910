/* PTX that only sm_90a has: bulk copies of tensors (TMA), their barriers, products of warpgroups (wgmma). No
 * bodies for the host: what uses them is not run there. As in ptx.cuh, one function per instruction. */
#ifndef BEAM_KERNELS_CUDA_PTX_SM90_CUH
#define BEAM_KERNELS_CUDA_PTX_SM90_CUH

#include <cuda.h>

#include "kernels/cuda/ptx.cuh"

/* A barrier in shared memory whose phase ends after `arrivals`, and after the bytes that were announced. */
__device__ inline void ptx_barrier_init(uint64_t *barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(ptx_shared_address(barrier)), "r"(arrivals)
                 : "memory");
}

/* Makes initialised barriers known to bulk copies. */
__device__ inline void ptx_barrier_publish()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ inline void ptx_barrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(ptx_shared_address(barrier)) : "memory");
}

/* Arrives, and announces bytes that copies will bring. */
__device__ inline void ptx_barrier_expect(uint64_t *barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(ptx_shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}

/* Waits until the phase of this parity is over. */
__device__ inline void ptx_barrier_wait(uint64_t *barrier, int parity)
{
    const uint32_t address = ptx_shared_address(barrier);
    uint32_t over;
    do
        asm volatile("{\n.reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n}"
                     : "=r"(over)
                     : "r"(address), "r"(parity)
                     : "memory");
    while (!over);
}

/* Copies the box at (x, y) of a matrix, or (x, y, z) of a stack, to shared memory; what lies outside is 0. */
__device__ inline void ptx_copy_box(void *to, const CUtensorMap *map, int x, int y, uint64_t *barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(ptx_shared_address(to)),
                 "l"(map), "r"(x), "r"(y), "r"(ptx_shared_address(barrier))
                 : "memory");
}

__device__ inline void ptx_copy_box(void *to, const CUtensorMap *map, int x, int y, int z, uint64_t *barrier)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(ptx_shared_address(to)),
                 "l"(map), "r"(x), "r"(y), "r"(z), "r"(ptx_shared_address(barrier))
                 : "memory");
}

/* Gives registers of this warpgroup away, or takes them. */
template <int Registers> __device__ inline void ptx_fewer_registers()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

template <int Registers> __device__ inline void ptx_more_registers()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}

/* Before products: what was written to their registers is finished. */
__device__ inline void ptx_wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ inline void ptx_wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int Pending> __device__ inline void ptx_wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

/* A matrix in shared memory for wgmma, in lines of 128 bytes with the 128-byte swizzle of bulk copies: 8
 * lines (1024 bytes) follow each other. Lines along k: `apart` is not used. Lines across k: they hold 64
 * numbers, the next 64 are `apart` bytes away. */
__device__ inline uint64_t ptx_wgmma_matrix(const void *p, int apart)
{
    const uint64_t address = ptx_shared_address(p) >> 4 & 0x3fff, lines = 1024 >> 4, swizzle_128 = 1;
    return address | static_cast<uint64_t>(apart >> 4) << 16 | lines << 32 | swizzle_128 << 62;
}

/* d[64,128] += a[64,16] b[16,128] of a warpgroup. AcrossB: the lines of b lie across k. Of lane (g, t) of
 * warp w: d[4j], d[4j+1] row 16w + g, columns 8j + 2t, 8j + 2t + 1; d[4j+2], d[4j+3] row 16w + g + 8. */
template <bool AcrossB> __device__ inline void ptx_wgmma(float d[64], uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, "
                 "%8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, "
                 "%24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, "
                 "%40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, "
                 "%56, %57, %58, %59, %60, %61, %62, %63"
                 "}, %64, %65, 1, 1, 1, 0, %66;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
                   "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
                   "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
                   "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
                   "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]),
                   "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]),
                   "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
                   "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
                   "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]),
                   "+f"(d[63])
                 : "l"(a), "l"(b), "n"(AcrossB ? 1 : 0));
}

#endif
