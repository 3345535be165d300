// C = A B on tensor cores in tf32: each warp makes 16 x 8 of C with mma.sync.m16n8k8, operands straight from global memory.
// Rows and columns outside the matrices count as zero. Blocks of 128 threads: four warps along the rows.
__device__ __forceinline__ unsigned tf32(float x) {
    unsigned r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
    return r;
}

extern "C" __global__ void __launch_bounds__(128)
tf32_gemm(const float* __restrict__ A, const float* __restrict__ B, float* __restrict__ C, int M, int N, int K) {
    const int lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4;
    const int row0 = (blockIdx.y * 4 + threadIdx.x / 32) * 16, col0 = blockIdx.x * 8;
    float c[4] = {};
#pragma unroll 1
    for (int k0 = 0; k0 < K; k0 += 8) {
        unsigned a[4], b[2];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int row = row0 + group + i % 2 * 8, k = k0 + quad + i / 2 * 4;
            a[i] = row < M && k < K ? tf32(A[(size_t)row * K + k]) : 0u;
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int k = k0 + quad + i * 4, col = col0 + group;
            b[i] = k < K && col < N ? tf32(B[(size_t)k * N + col]) : 0u;
        }
        asm volatile(
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int row = row0 + group + i / 2 * 8, col = col0 + quad * 2 + i % 2;
        if (row < M && col < N) C[(size_t)row * N + col] = c[i];
    }
}
