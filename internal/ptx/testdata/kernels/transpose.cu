// out = transpose of in (n x m), through a padded 32 x 32 tile of shared memory; blocks of 32 x 8 threads.
extern "C" __global__ void transpose(const float* __restrict__ in, float* __restrict__ out, int n, int m) {
    __shared__ float tile[32][33];
    int col = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y * 32 + threadIdx.y;
    for (int j = 0; j < 32; j += 8)
        if (row + j < n && col < m) tile[threadIdx.y + j][threadIdx.x] = in[(size_t)(row + j) * m + col];
    __syncthreads();
    col = blockIdx.y * 32 + threadIdx.x;
    row = blockIdx.x * 32 + threadIdx.y;
    for (int j = 0; j < 32; j += 8)
        if (row + j < m && col < n) out[(size_t)(row + j) * n + col] = tile[threadIdx.x][threadIdx.y + j];
}
