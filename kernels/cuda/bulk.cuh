/*
 * bulk.cuh - copies of whole tiles by the copy engine, barriers that count their bytes, and clusters of
 * blocks that share them: compute capability 9.0
 *
 * A barrier's phases alternate between parities, the first being 0.  Addresses are of shared memory.  Source:
 * PTX ISA, "Data Movement: cp.async.bulk.tensor", "mbarrier" and "barrier.cluster".
 */
#ifndef KERNELS_CUDA_BULK_CUH
#define KERNELS_CUDA_BULK_CUH

#include <cuda.h> /* CUtensorMap; the driver library is not linked */

#include "kernels/cuda/wgmma.cuh"

#ifdef HAS_WGMMA

/* arrivals: how many end a phase, whose bytes must have come as well. */
__device__ inline void barrier_init(uint64_t *barrier, unsigned arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
                 : "memory");
}

/* Barriers of this thread's making can be used by the cluster and the copy engine, after a cluster_sync(). */
__device__ inline void barrier_publish()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/* Arrive, and let the phase wait for bytes too. */
__device__ inline void barrier_expect(uint64_t *barrier, unsigned bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}

/* Arrive at the barrier in the same place of block `rank` of the cluster. */
__device__ inline void barrier_arrive(uint64_t *barrier, unsigned rank)
{
    asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(shared_address(barrier)),
                 "r"(rank)
                 : "memory");
}

/* Until the phase of this parity is over: the thread sleeps for up to 10 ms at a time. */
__device__ inline void barrier_wait(uint64_t *barrier, unsigned parity)
{
    const unsigned nanoseconds = 10000000;

    asm volatile("{\n.reg .pred over;\nagain:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1, %2;\n"
                 "@!over bra again;\n}" ::"r"(shared_address(barrier)),
                 "r"(parity), "r"(nanoseconds)
                 : "memory");
}

__device__ inline unsigned cluster_rank()
{
    unsigned rank;

    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

/* Every thread of every block of the cluster. */
__device__ inline void cluster_sync()
{
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

/* The map's tile that begins at a column and row, whose bytes the barrier counts; zeros beyond the edges. */
__device__ inline void copy_tile(void *to, const CUtensorMap *map, int column, int row, uint64_t *barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, "
                 "{%2, %3}], [%4];" ::"r"(shared_address(to)),
                 "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier))
                 : "memory");
}

/* The same into all blocks of the cluster whose bits are in mask, each counted by that block's own barrier.
 */
__device__ inline void copy_tile_to_all(void *to, const CUtensorMap *map, int column, int row,
                                        uint64_t *barrier, uint16_t mask)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::"
                 "cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to)),
                 "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier)), "h"(mask)
                 : "memory");
}

#endif /* HAS_WGMMA */
#endif
