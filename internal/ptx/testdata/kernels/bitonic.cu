// Sorts 1024 keys a block, ascending, by a bitonic network in shared memory; keys past n count as the largest.
#define KEYS 1024

extern "C" __global__ void __launch_bounds__(512) bitonic_sort(int* keys, int n) {
    __shared__ int s[KEYS];
    const int base = blockIdx.x * KEYS, t = threadIdx.x;
    s[t] = base + t < n ? keys[base + t] : 0x7fffffff;
    s[t + 512] = base + t + 512 < n ? keys[base + t + 512] : 0x7fffffff;
    for (int size = 2; size <= KEYS; size <<= 1)
        for (int stride = size >> 1; stride > 0; stride >>= 1) {
            __syncthreads();
            const int i = 2 * t - (t & (stride - 1));
            const bool up = (i & size) == 0;
            const int a = s[i], b = s[i + stride];
            if ((a > b) == up) {
                s[i] = b;
                s[i + stride] = a;
            }
        }
    __syncthreads();
    if (base + t < n) keys[base + t] = s[t];
    if (base + t + 512 < n) keys[base + t + 512] = s[t + 512];
}
