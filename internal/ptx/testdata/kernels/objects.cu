// Barrier objects in shared memory: a reversal of each block's elements, round after round, and one that copies asynchronously.
#include <cuda_awbarrier_primitives.h>
#include <cuda_pipeline_primitives.h>

__device__ void arrive_and_wait(__mbarrier_t *b) {
    auto state = __mbarrier_arrive(b);
    while (!__mbarrier_test_wait(b, state)) {
    }
}

extern "C" __global__ void rounds(const int *in, int *out, int count) {
    __shared__ __mbarrier_t full, empty;
    __shared__ int tile[128];
    if (threadIdx.x == 0) {
        __mbarrier_init(&full, blockDim.x);
        __mbarrier_init(&empty, blockDim.x);
    }
    __syncthreads();
    int v = in[blockIdx.x * blockDim.x + threadIdx.x];
    for (int k = 0; k < count; k++) {
        tile[threadIdx.x] = v + k;
        arrive_and_wait(&full);
        v = tile[blockDim.x - 1 - threadIdx.x];
        arrive_and_wait(&empty);
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = v;
}

extern "C" __global__ void copied(const int *in, int *out) {
    __shared__ __mbarrier_t ready;
    __shared__ __align__(16) int tile[512];
    if (threadIdx.x == 0) __mbarrier_init(&ready, blockDim.x);
    __syncthreads();
    __pipeline_memcpy_async(tile + 4 * threadIdx.x, in + 4 * (blockIdx.x * blockDim.x + threadIdx.x), 16);
    __pipeline_arrive_on(&ready);
    arrive_and_wait(&ready);
    for (int k = 0; k < 4; k++) out[4 * blockDim.x * blockIdx.x + 4 * threadIdx.x + k] = tile[4 * blockDim.x - 1 - 4 * threadIdx.x - k];
}
