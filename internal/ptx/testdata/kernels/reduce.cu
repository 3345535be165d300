// Sums of f32 that do not depend on the schedule. block_sum: each block sums its part in a fixed order into part[blockIdx.x];
// launched again with one block over part it finishes the sum (deterministic two-pass reduction). Shared memory is dynamic.
extern "C" __global__ void block_sum(const float* __restrict__ in, float* __restrict__ part, int n) {
    extern __shared__ float s[];
    float sum = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += in[i];
    s[threadIdx.x] = sum;
    __syncthreads();
    for (int o = blockDim.x / 2; o > 0; o >>= 1) {
        if (threadIdx.x < o) s[threadIdx.x] += s[threadIdx.x + o];
        __syncthreads();
    }
    if (threadIdx.x == 0) part[blockIdx.x] = s[0];
}
