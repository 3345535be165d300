// C = A B in f32, row major: A is M x K, B is K x N. A block of 256 threads makes a 64 x 64 tile of C, each thread 4 x 4;
// tiles of A (transposed) and B go through shared memory, in float4 where the matrices allow it.
#define TILE 64
#define DEPTH 16

extern "C" __global__ void __launch_bounds__(256)
sgemm(const float* __restrict__ A, const float* __restrict__ B, float* __restrict__ C, int M, int N, int K) {
    __shared__ __align__(16) float As[DEPTH][TILE + 4];
    __shared__ __align__(16) float Bs[DEPTH][TILE];
    const int tid = threadIdx.x, tx = tid % 16, ty = tid / 16;
    const int row0 = blockIdx.y * TILE, col0 = blockIdx.x * TILE;
    const int arow = tid / 4, acol = tid % 4 * 4;
    const int brow = tid / 16, bcol = tid % 16 * 4;
    const bool wide = K % 4 == 0 && N % 4 == 0;
    float c[4][4] = {};

    for (int k0 = 0; k0 < K; k0 += DEPTH) {
        float4 a = make_float4(0, 0, 0, 0), b = a;
        const float* pa = A + (size_t)(row0 + arow) * K + k0 + acol;
        if (row0 + arow < M) {
            if (wide) {
                if (k0 + acol < K) a = *(const float4*)pa;
            } else {
                if (k0 + acol + 0 < K) a.x = pa[0];
                if (k0 + acol + 1 < K) a.y = pa[1];
                if (k0 + acol + 2 < K) a.z = pa[2];
                if (k0 + acol + 3 < K) a.w = pa[3];
            }
        }
        const float* pb = B + (size_t)(k0 + brow) * N + col0 + bcol;
        if (k0 + brow < K) {
            if (wide) {
                if (col0 + bcol < N) b = *(const float4*)pb;
            } else {
                if (col0 + bcol + 0 < N) b.x = pb[0];
                if (col0 + bcol + 1 < N) b.y = pb[1];
                if (col0 + bcol + 2 < N) b.z = pb[2];
                if (col0 + bcol + 3 < N) b.w = pb[3];
            }
        }
        As[acol + 0][arow] = a.x;
        As[acol + 1][arow] = a.y;
        As[acol + 2][arow] = a.z;
        As[acol + 3][arow] = a.w;
        *(float4*)&Bs[brow][bcol] = b;
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            const float4 x = *(const float4*)&As[k][ty * 4], y = *(const float4*)&Bs[k][tx * 4];
            const float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) c[i][j] = fmaf(xs[i], ys[j], c[i][j]);
        }
        __syncthreads();
    }

#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int row = row0 + ty * 4 + i, col = col0 + tx * 4;
        if (row >= M) break;
        float* pc = C + (size_t)row * N + col;
        if (wide) {
            if (col < N) *(float4*)pc = make_float4(c[i][0], c[i][1], c[i][2], c[i][3]);
        } else {
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (col + j < N) pc[j] = c[i][j];
        }
    }
}
