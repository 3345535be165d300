// Layer normalisation of rows, forward: y = (x - mean) / sqrt(var + eps) * gain + shift. One block of 128 threads a row; every sum
// runs in a fixed order.
__device__ float block_sum128(float x, float* s) {
    for (int o = 16; o > 0; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
    __syncthreads();
    if (threadIdx.x % 32 == 0) s[threadIdx.x / 32] = x;
    __syncthreads();
    return (s[0] + s[1]) + (s[2] + s[3]);
}

extern "C" __global__ void __launch_bounds__(128) layernorm(const float* __restrict__ x, const float* __restrict__ gain,
                                                            const float* __restrict__ shift, float* __restrict__ y, float eps, int m) {
    __shared__ float s[4];
    const float* row = x + (size_t)blockIdx.x * m;
    float sum = 0;
    for (int j = threadIdx.x; j < m; j += 128) sum += row[j];
    const float mean = block_sum128(sum, s) / m;
    sum = 0;
    for (int j = threadIdx.x; j < m; j += 128) {
        const float d = row[j] - mean;
        sum = fmaf(d, d, sum);
    }
    const float scale = 1.0f / sqrtf(block_sum128(sum, s) / m + eps);
    for (int j = threadIdx.x; j < m; j += 128) y[(size_t)blockIdx.x * m + j] = (row[j] - mean) * scale * gain[j] + shift[j];
}
