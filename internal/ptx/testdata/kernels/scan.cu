// Inclusive prefix sums of n integers in three launches: scan_blocks scans 256 elements a block (warp shuffles, then the
// warps' totals) and writes each block's total; scan_totals scans up to 256 totals in place; scan_add adds what precedes a block.
#define FULL 0xffffffffu

__device__ int scan_warp(int x, int lane) {
    for (int o = 1; o < 32; o <<= 1) {
        const int y = __shfl_up_sync(FULL, x, o);
        if (lane >= o) x += y;
    }
    return x;
}

__device__ int scan_block(int x, int* totals) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    x = scan_warp(x, lane);
    if (lane == 31) totals[warp] = x;
    __syncthreads();
    if (warp == 0) {
        const int t = scan_warp(lane < 8 ? totals[lane] : 0, lane);
        if (lane < 8) totals[lane] = t;
    }
    __syncthreads();
    return warp > 0 ? x + totals[warp - 1] : x;
}

extern "C" __global__ void __launch_bounds__(256) scan_blocks(const int* in, int* out, int* blocks, int n) {
    __shared__ int totals[8];
    const int i = blockIdx.x * 256 + threadIdx.x;
    const int x = scan_block(i < n ? in[i] : 0, totals);
    if (i < n) out[i] = x;
    if (threadIdx.x == 255) blocks[blockIdx.x] = x;
}

extern "C" __global__ void __launch_bounds__(256) scan_totals(int* blocks, int n) {
    __shared__ int totals[8];
    const int i = threadIdx.x;
    const int x = scan_block(i < n ? blocks[i] : 0, totals);
    if (i < n) blocks[i] = x;
}

extern "C" __global__ void __launch_bounds__(256) scan_add(int* out, const int* blocks, int n) {
    const int i = blockIdx.x * 256 + threadIdx.x;
    if (i < n && blockIdx.x > 0) out[i] += blocks[blockIdx.x - 1];
}
