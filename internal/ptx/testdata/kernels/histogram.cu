// Counts of byte values: per-block counts in shared memory, added to the global counts by atomics. count starts at zero.
extern "C" __global__ void histogram(const unsigned char* __restrict__ in, unsigned* __restrict__ count, int n) {
    __shared__ unsigned part[256];
    for (int b = threadIdx.x; b < 256; b += blockDim.x) part[b] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&part[in[i]], 1u);
    __syncthreads();
    for (int b = threadIdx.x; b < 256; b += blockDim.x)
        if (part[b] > 0) atomicAdd(&count[b], part[b]);
}
