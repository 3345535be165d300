// C = A B in f32 with two stages of cp.async: while a block multiplies one pair of tiles, the next pair is on its way.
// A block of 256 threads makes 32 x 32 of C, each thread a 2 x 2 corner. Elements outside the matrices are copied as zeros
// (the source size of cp.async is 0 there).
#define TILE 32
#define DEPTH 16

__device__ __forceinline__ void copy_async(float* to, const float* from, bool inside) {
    const unsigned shared = (unsigned)__cvta_generic_to_shared(to);
    const int bytes = inside ? 4 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(shared), "l"(from), "r"(bytes) : "memory");
}

extern "C" __global__ void __launch_bounds__(256)
sgemm_async(const float* __restrict__ A, const float* __restrict__ B, float* __restrict__ C, int M, int N, int K) {
    __shared__ float As[2][TILE][DEPTH + 1];
    __shared__ float Bs[2][DEPTH][TILE + 1];
    const int tid = threadIdx.x, tx = tid % 16, ty = tid / 16;
    const int row0 = blockIdx.y * TILE, col0 = blockIdx.x * TILE;

    auto fetch = [&](int stage, int k0) {
#pragma unroll
        for (int i = 0; i < TILE * DEPTH / 256; i++) {
            const int e = tid + 256 * i, r = e / DEPTH, k = e % DEPTH;
            const bool inside = row0 + r < M && k0 + k < K;
            copy_async(&As[stage][r][k], inside ? A + (size_t)(row0 + r) * K + k0 + k : A, inside);
            const int kb = e / TILE, col = e % TILE;
            const bool insideB = k0 + kb < K && col0 + col < N;
            copy_async(&Bs[stage][kb][col], insideB ? B + (size_t)(k0 + kb) * N + col0 + col : B, insideB);
        }
        asm volatile("cp.async.commit_group;\n" ::: "memory");
    };

    float c[2][2] = {};
    const int steps = (K + DEPTH - 1) / DEPTH;
    if (steps > 0) fetch(0, 0);
    for (int s = 0; s < steps; s++) {
        const int stage = s & 1;
        if (s + 1 < steps) {
            fetch(stage ^ 1, (s + 1) * DEPTH);
            asm volatile("cp.async.wait_group 1;\n" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;\n" ::: "memory");
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            const float a0 = As[stage][ty][k], a1 = As[stage][ty + 16][k];
            const float b0 = Bs[stage][k][tx], b1 = Bs[stage][k][tx + 16];
            c[0][0] = fmaf(a0, b0, c[0][0]);
            c[0][1] = fmaf(a0, b1, c[0][1]);
            c[1][0] = fmaf(a1, b0, c[1][0]);
            c[1][1] = fmaf(a1, b1, c[1][1]);
        }
        __syncthreads();
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            const int row = row0 + ty + 16 * i, col = col0 + tx + 16 * j;
            if (row < M && col < N) C[(size_t)row * N + col] = c[i][j];
        }
}
