// A 1D stencil of radius 3 with a halo in shared memory, and five-point relaxation of a grid; outside counts as zero.
#define RADIUS 3

extern "C" __global__ void __launch_bounds__(128) stencil(const int* __restrict__ in, int* __restrict__ out, int n) {
    __shared__ int s[128 + 2 * RADIUS];
    const int i = blockIdx.x * 128 + threadIdx.x, t = threadIdx.x + RADIUS;
    s[t] = i < n ? in[i] : 0;
    if (threadIdx.x < RADIUS) {
        s[t - RADIUS] = i >= RADIUS && i - RADIUS < n ? in[i - RADIUS] : 0;
        s[t + 128] = i + 128 < n ? in[i + 128] : 0;
    }
    __syncthreads();
    int sum = 0;
#pragma unroll
    for (int o = -RADIUS; o <= RADIUS; o++) sum += s[t + o];
    if (i < n) out[i] = sum;
}

extern "C" __global__ void relax(const float* __restrict__ in, float* __restrict__ out, int n, int m) {
    const int col = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= n || col >= m) return;
    const float up = row > 0 ? in[(row - 1) * m + col] : 0, down = row + 1 < n ? in[(row + 1) * m + col] : 0;
    const float left = col > 0 ? in[row * m + col - 1] : 0, right = col + 1 < m ? in[row * m + col + 1] : 0;
    out[row * m + col] = 0.25f * ((up + down) + (left + right));
}
