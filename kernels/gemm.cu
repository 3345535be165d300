// Products of matrices that need no tiles. gemm_tile.cu has the others.
#include "divide.cuh"

struct Product {
    int m, n, k;
    int a[3], b[3], maskA[3], maskB[3]; // strides of an operand: batch, its own axis (row of A, column of B), k
    int out[3];                         // batch, row, column
};

// mark leaves a comment in the PTX where a value of the result is about to be stored, see gemm_tile.cu.
__device__ __forceinline__ void mark(float (&v)[1], int batch, int row, int column) {
    asm volatile("// epilogue of {%0} at %1, %2, %3" : "+f"(v[0]) : "r"(batch), "r"(row), "r"(column));
}

// Many small products: one thread for each element of out, the batch outermost.
extern "C" __global__ void __launch_bounds__(256) gemm_tiny(const float* __restrict__ A, const float* __restrict__ B,
    const float* __restrict__ maskA, const float* __restrict__ maskB, float* __restrict__ out, Product p,
    Divisor rows, Divisor columns, int size) {
    for (unsigned e = blockIdx.x * 256 + threadIdx.x; e < size; e += gridDim.x * 256) { // beyond 2^31 in its last step
        unsigned j = e, i = divide(j, columns);
        const long long b = divide(i, rows);
        const float *a = A + b * p.a[0] + (long long)i * p.a[1], *c = B + b * p.b[0] + (long long)j * p.b[1];
        const float* ma = maskA ? maskA + b * p.maskA[0] + (long long)i * p.maskA[1] : nullptr;
        const float* mb = maskB ? maskB + b * p.maskB[0] + (long long)j * p.maskB[1] : nullptr;
        float sum = 0;
        for (int k = 0; k < p.k; k++) {
            float x = __ldg(a + (long long)k * p.a[2]), y = __ldg(c + (long long)k * p.b[2]);
            if (ma) x = __fmul_rn(x, __ldg(ma + (long long)k * p.maskA[2]));
            if (mb) y = __fmul_rn(y, __ldg(mb + (long long)k * p.maskB[2]));
            sum = fmaf(x, y, sum);
        }
        float v[1] = {sum};
        mark(v, b, i, j);
        out[b * p.out[0] + (long long)i * p.out[1] + (long long)j * p.out[2]] = v[0];
    }
}
