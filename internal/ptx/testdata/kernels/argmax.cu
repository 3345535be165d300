// The place of each row's largest element, the first of several; NaN never wins. One warp a row, blocks of 64 threads.
extern "C" __global__ void argmax(const float* __restrict__ x, int* __restrict__ place, int n, int m) {
    const int row = blockIdx.x * 2 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= n) return;
    float best = -__int_as_float(0x7f800000);
    int at = m;
    for (int j = lane; j < m; j += 32) {
        const float v = x[(size_t)row * m + j];
        if (v > best) {
            best = v;
            at = j;
        }
    }
    for (int o = 16; o > 0; o >>= 1) {
        const float v = __shfl_down_sync(0xffffffffu, best, o);
        const int j = __shfl_down_sync(0xffffffffu, at, o);
        if (v > best || (v == best && j < at)) {
            best = v;
            at = j;
        }
    }
    if (lane == 0) place[row] = at;
}
