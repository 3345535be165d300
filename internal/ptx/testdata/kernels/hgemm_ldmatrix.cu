// C = A B on tensor cores, f16 operands and f32 sums: a block of 4 warps makes 32 x 16 of C, tiles through shared memory,
// fragments by ldmatrix (B transposed on the way), mma.sync.m16n8k16. Outside elements count as zero.
#include <cuda_fp16.h>
#define ROWS 32
#define COLS 16
#define DEPTH 16
#define PAD 8

extern "C" __global__ void __launch_bounds__(128)
hgemm_ldmatrix(const __half* __restrict__ A, const __half* __restrict__ B, float* __restrict__ C, int M, int N, int K) {
    __shared__ __align__(16) __half As[ROWS][DEPTH + PAD];
    __shared__ __align__(16) __half Bs[DEPTH][COLS + PAD];
    const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
    const int row0 = blockIdx.y * ROWS, col0 = blockIdx.x * COLS;
    const int wrow = warp / 2 * 16, wcol = warp % 2 * 8;
    float c[4] = {};
    for (int k0 = 0; k0 < K; k0 += DEPTH) {
#pragma unroll
        for (int i = 0; i < ROWS * DEPTH / 128; i++) {
            const int e = tid + 128 * i, r = e / DEPTH, k = e % DEPTH;
            As[r][k] = row0 + r < M && k0 + k < K ? A[(size_t)(row0 + r) * K + k0 + k] : __ushort_as_half(0);
        }
#pragma unroll
        for (int i = 0; i < DEPTH * COLS / 128; i++) {
            const int e = tid + 128 * i, k = e / COLS, col = e % COLS;
            Bs[k][col] = k0 + k < K && col0 + col < N ? B[(size_t)(k0 + k) * N + col0 + col] : __ushort_as_half(0);
        }
        __syncthreads();
        unsigned a[4], b[2];
        const unsigned pa = (unsigned)__cvta_generic_to_shared(&As[wrow + lane % 16][lane / 16 * 8]);
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                     : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3]) : "r"(pa) : "memory");
        const unsigned pb = (unsigned)__cvta_generic_to_shared(&Bs[lane % 16][wcol]);
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];\n"
                     : "=r"(b[0]), "=r"(b[1]) : "r"(pb) : "memory");
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int row = row0 + wrow + lane / 4 + i / 2 * 8, col = col0 + wcol + lane % 4 * 2 + i % 2;
        if (row < M && col < N) C[(size_t)row * N + col] = c[i];
    }
}
