// y = A x for a sparse matrix in compressed rows: one warp a row, sums in a fixed order; blocks of 128 threads.
extern "C" __global__ void spmv(const int* __restrict__ start, const int* __restrict__ column, const float* __restrict__ value,
                                const float* __restrict__ x, float* __restrict__ y, int n) {
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (row >= n) return;
    float sum = 0;
    for (int e = start[row] + lane; e < start[row + 1]; e += 32) sum = fmaf(value[e], x[column[e]], sum);
    for (int o = 16; o > 0; o >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, o);
    if (lane == 0) y[row] = sum;
}
