// Maps over 16-bit floats: z = a x + y in half2, bf16 to f32 and back with a scale, and the sum of products in f32.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void haxpy(__half a, const __half2* __restrict__ x, __half2* __restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = __hfma2(__half2half2(a), x[i], y[i]);
}

extern "C" __global__ void bf16_scale(const __nv_bfloat16* __restrict__ x, float scale, __nv_bfloat16* __restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = __float2bfloat16(__bfloat162float(x[i]) * scale);
}

extern "C" __global__ void half_max(const __half* __restrict__ x, const __half* __restrict__ y, __half* __restrict__ z, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const __half s = __hadd(x[i], y[i]), p = __hmul(x[i], y[i]);
    z[i] = __hgt(s, p) ? s : p;
}
