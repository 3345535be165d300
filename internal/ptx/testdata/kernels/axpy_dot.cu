// y = a x + y and each block's part of <y, y> in one pass; a later block_sum adds the parts. float2 where the length allows.
extern "C" __global__ void __launch_bounds__(128)
axpy_dot(float a, const float* __restrict__ x, float* __restrict__ y, double* __restrict__ part, int n) {
    __shared__ double warps[4];
    double sum = 0;
    const int stride = gridDim.x * 128;
    for (int i = blockIdx.x * 128 + threadIdx.x; i < n / 2; i += stride) {
        const float2 u = ((const float2*)x)[i];
        float2 v = ((float2*)y)[i];
        v.x = fmaf(a, u.x, v.x);
        v.y = fmaf(a, u.y, v.y);
        ((float2*)y)[i] = v;
        sum += (double)v.x * v.x + (double)v.y * v.y;
    }
    if (n % 2 && blockIdx.x == 0 && threadIdx.x == 0) {
        const float v = fmaf(a, x[n - 1], y[n - 1]);
        y[n - 1] = v;
        sum += (double)v * v;
    }
    for (int o = 16; o > 0; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) part[blockIdx.x] = ((warps[0] + warps[1]) + warps[2]) + warps[3];
}
