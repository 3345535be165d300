// A sum in one launch: every block writes its part, and the block that comes last (by a counter) adds the parts in order, so
// the bits do not depend on who is last. done starts at zero and is zero again at the end. At most 128 blocks of 128 threads.
__device__ __forceinline__ float sum_block(float x, float* warps) {
    for (int o = 16; o > 0; o >>= 1) x += __shfl_down_sync(0xffffffffu, x, o);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    return warps[0] + warps[1] + warps[2] + warps[3];
}

extern "C" __global__ void __launch_bounds__(128)
reduce_last(const float* __restrict__ in, volatile float* part, float* __restrict__ out, unsigned* done, int n) {
    __shared__ float warps[4];
    __shared__ bool last;
    float x = 0;
    for (int i = blockIdx.x * 128 + threadIdx.x; i < n; i += gridDim.x * 128) x += in[i];
    x = sum_block(x, warps);
    if (threadIdx.x == 0) {
        part[blockIdx.x] = x;
        __threadfence();
        last = atomicInc(done, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    x = sum_block(threadIdx.x < gridDim.x ? part[threadIdx.x] : 0.0f, warps);
    if (threadIdx.x == 0) *out = x;
}
