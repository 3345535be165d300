// Softmax cross-entropy of rows of logits z (n x m): one warp a row, blocks of 128 threads.
// Forward writes loss_i = log Σ_j exp(z_ij) - z_i,label and the log-sum-exp; backward writes g_i (softmax(z_i) - onehot).
#define FULL 0xffffffffu

__device__ __forceinline__ float warp_max(float x) {
    for (int o = 16; o > 0; o >>= 1) x = fmaxf(x, __shfl_xor_sync(FULL, x, o));
    return x;
}

__device__ __forceinline__ float warp_sum(float x) {
    for (int o = 16; o > 0; o >>= 1) x += __shfl_xor_sync(FULL, x, o);
    return x;
}

extern "C" __global__ void xent_forward(const float* __restrict__ z, const int* __restrict__ label, float* __restrict__ loss,
                                        float* __restrict__ lse, int n, int m) {
    const int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= n) return;
    const float* zr = z + (size_t)row * m;
    float top = -3.402823466e38f;
    for (int j = lane; j < m; j += 32) top = fmaxf(top, zr[j]);
    top = warp_max(top);
    float sum = 0;
    for (int j = lane; j < m; j += 32) sum += expf(zr[j] - top);
    sum = warp_sum(sum);
    if (lane == 0) {
        const float l = top + logf(sum);
        lse[row] = l;
        loss[row] = l - zr[label[row]];
    }
}

extern "C" __global__ void xent_backward(const float* __restrict__ z, const int* __restrict__ label, const float* __restrict__ lse,
                                         const float* __restrict__ g, float* __restrict__ dz, int n, int m) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * m) return;
    const int row = i / m, col = i - row * m;
    const float p = expf(z[i] - lse[row]);
    dz[i] = g[row] * (col == label[row] ? p - 1.0f : p);
}
