// Products of matrices in float32: out[b,i,j] = Σ_k A[b,i,k] B[b,k,j], any strides, masks multiplied in while loading.
//
// A block makes a tile of out. It walks along k in slices of one or two pieces of 8: the next slice of A and B travels from
// memory to registers while the block multiplies the present one, which lies in shared memory with k as its slow axis.
// Rows of a slice are 4 words longer than the tile is wide, so that stores of a piece, across (along the tile) or along k,
// meet 32 different banks. Every element is one chain of fma over k in ascending order, from 0.
//
// On tensor cores (_tf32) factors are rounded to 11 significant bits, ties away from zero, as they enter shared memory, and
// mma.m16n8k8 adds eight products at a time to a float32 sum. Rows of a slice are then 8 words longer, which suits fragments.
#define PIECE 8

// Sizes and strides. The strides of an operand are those of batch, its own axis of the tile (row of A, column of B), and k.
struct Product {
    int m, n, k;
    int depth;          // how much of k one split takes: a multiple of 16
    int rows, columns;  // tiles
    int a[3], b[3], maskA[3], maskB[3];
    int out[3];         // batch, row, column
    int split;          // stride of the splits of out
    int alongA, alongB; // neighbouring threads load along k, not across
    int vector;         // out takes aligned groups of 4 columns
};

__device__ __forceinline__ float tf32(float x) {
    unsigned r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
    return __uint_as_float(r);
}

// What one thread loads of a slice of WIDTH x PIECES·8 elements, THREADS sharing the work.
template <int WIDTH, int PIECES, int THREADS, bool VECTOR, bool MASK, bool TF32> struct Loader {
    static const int UNIT = VECTOR ? 4 : 1;
    static const int UNITS = WIDTH * PIECE / UNIT;                    // of a piece
    static const int COUNT = UNITS < THREADS ? 1 : UNITS / THREADS; // of a piece, for one thread
    static const int PITCH = WIDTH + (TF32 ? 8 : 4);
    float value[PIECES][COUNT][UNIT], mask[PIECES][COUNT][UNIT];
    const float *from, *fromMask;
    int across, along, stepAcross, stepAlong; // place in the piece of the first unit, and from each unit to the next
    int step, stepMask, next, nextMask;       // elements from unit to unit, and from piece to piece
    int place;                                // of the first unit in shared memory
    int inside;                               // bit i: unit i lies within the operand across
    bool alongK;

    __device__ __forceinline__ void start(const float* p, const int s[3], const float* pm, const int sm[3], int first, int extent, int k0, bool runAlong) {
        const int tid = threadIdx.x;
        alongK = runAlong;
        if (alongK) {
            across = tid / (PIECE / UNIT), along = tid % (PIECE / UNIT) * UNIT;
            stepAcross = THREADS * UNIT / PIECE, stepAlong = 0;
        } else {
            across = tid % (WIDTH / UNIT) * UNIT, along = tid / (WIDTH / UNIT);
            stepAcross = 0, stepAlong = THREADS * UNIT / WIDTH;
            if (WIDTH == 16) along = along / 2 + along % 2 * 4; // rows 4 apart share no bank, neighbours do
        }
        place = along * PITCH + across;
        inside = 0;
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            if (first + across + i * stepAcross < extent && (UNITS >= THREADS || tid < UNITS)) inside |= 1 << i;
        from = p + (long long)(first + across) * s[1] + (long long)(k0 + along) * s[2] + (long long)blockIdx.z * s[0];
        step = stepAcross * s[1] + stepAlong * s[2], next = PIECE * s[2];
        if (MASK) {
            fromMask = pm ? pm + (long long)(first + across) * sm[1] + (long long)(k0 + along) * sm[2] + (long long)blockIdx.z * sm[0] : nullptr;
            stepMask = stepAcross * sm[1] + stepAlong * sm[2], nextMask = PIECE * sm[2];
        }
    }

    static __device__ __forceinline__ void read(float to[UNIT], const float* p) {
        if (VECTOR) {
            const float4 v = __ldg((const float4*)p);
            to[0] = v.x, to[1 % UNIT] = v.y, to[2 % UNIT] = v.z, to[3 % UNIT] = v.w;
        } else {
            to[0] = __ldg(p);
        }
    }

    // fetch loads the slice of which rest columns are left, and moves on to the next.
    __device__ __forceinline__ void fetch(int rest) {
#pragma unroll
        for (int h = 0; h < PIECES; h++) {
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
#pragma unroll
                for (int j = 0; j < UNIT; j++) {
                    value[h][i][j] = 0;
                    if (MASK) mask[h][i][j] = 1;
                }
                if ((inside >> i & 1) && along + i * stepAlong < rest - h * PIECE) {
                    read(value[h][i], from + (long long)i * step);
                    if (MASK && fromMask) read(mask[h][i], fromMask + (long long)i * stepMask);
                }
            }
            from += next;
            if (MASK && fromMask) fromMask += nextMask;
        }
    }

    // put stores what was fetched as slice[k][across].
    __device__ __forceinline__ void put(float* slice) {
        if (UNITS < THREADS && threadIdx.x >= UNITS) return;
        float* to = slice + place;
#pragma unroll
        for (int h = 0; h < PIECES; h++)
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
                float* v = value[h][i];
                if (MASK)
#pragma unroll
                    for (int j = 0; j < UNIT; j++) v[j] = __fmul_rn(v[j], mask[h][i][j]);
                if (TF32)
#pragma unroll
                    for (int j = 0; j < UNIT; j++) v[j] = tf32(v[j]);
                float* at = to + (h * PIECE + i * stepAlong) * PITCH + i * stepAcross;
                if (!VECTOR) {
                    at[0] = v[0];
                } else if (alongK) {
#pragma unroll
                    for (int j = 0; j < UNIT; j++) at[j * PITCH] = v[j];
                } else {
                    *(float4*)at = make_float4(v[0], v[1 % UNIT], v[2 % UNIT], v[3 % UNIT]);
                }
            }
    }
};

// fragments adds eight columns of A times eight rows of B, on tensor cores; a and b are where the lane's fragments begin.
template <int COLUMNS, int PITCH_A, int PITCH_B>
__device__ __forceinline__ void fragments(float c[8][COLUMNS], const float* a, const float* b) {
    float x[2][4], y[COLUMNS][2];
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) x[i][e] = a[e / 2 * 4 * PITCH_A + i * 16 + e % 2 * 8];
#pragma unroll
    for (int j = 0; j < COLUMNS; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) y[j][e] = b[e * 4 * PITCH_B + j * 8];
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < COLUMNS; j++)
            asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                : "+f"(c[4 * i][j]), "+f"(c[4 * i + 1][j]), "+f"(c[4 * i + 2][j]), "+f"(c[4 * i + 3][j])
                : "r"(__float_as_uint(x[i][0])), "r"(__float_as_uint(x[i][1])), "r"(__float_as_uint(x[i][2])), "r"(__float_as_uint(x[i][3])),
                  "r"(__float_as_uint(y[j][0])), "r"(__float_as_uint(y[j][1])));
}

// A warp makes 32 rows and 8·COLUMNS columns; its 4 x 8 lanes have 8 rows and COLUMNS columns each: groups of 4 rows 16
// apart and of 4 columns 32 apart. On tensor cores they are 2 x COLUMNS fragments of 16 x 8: c[4i+e][j] is element e of
// fragment (i, j). DOWN x RIGHT warps make the tile.
template <int DOWN, int RIGHT, int COLUMNS, int PIECES, bool VECTOR, bool MASK, bool TF32>
__device__ __forceinline__ void product(const float* A, const float* B, const float* maskA, const float* maskB, float* out, const Product& p) {
    const int THREADS = DOWN * RIGHT * 32, TALL = DOWN * 32, WIDE = RIGHT * 8 * COLUMNS, SLICE = PIECES * PIECE;
    const int GROUP = COLUMNS < 4 ? COLUMNS : 4; // neighbouring columns of a lane
    typedef Loader<TALL, PIECES, THREADS, VECTOR, MASK, TF32> LoaderA;
    typedef Loader<WIDE, PIECES, THREADS, VECTOR, MASK, TF32> LoaderB;
    const int SIZE_A = SLICE * LoaderA::PITCH, SIZE = SIZE_A + SLICE * LoaderB::PITCH;
    __shared__ __align__(16) float slices[2 * SIZE]; // of A, of B; the same for the next slice

    // Blocks that run together take tiles near each other: bands of 16 tiles down, column by column.
    const int BAND = 16;
    const int band = blockIdx.x / (BAND * p.columns), place = blockIdx.x - band * BAND * p.columns;
    const int tall = min(BAND, p.rows - band * BAND);
    const int row0 = (band * BAND + place % tall) * TALL, col0 = place / tall * WIDE;
    const int k0 = blockIdx.y * p.depth, depth = min(p.depth, p.k - k0);

    LoaderA a;
    LoaderB b;
    a.start(A, p.a, maskA, p.maskA, row0, p.m, k0, p.alongA);
    b.start(B, p.b, maskB, p.maskB, col0, p.n, k0, p.alongB);

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int group = lane / 4, quad = lane % 4; // of a fragment
    const int row = warp / RIGHT * 32 + (TF32 ? group : lane / 8 * 4);
    const int col = warp % RIGHT * 8 * COLUMNS + (TF32 ? 0 : lane % 8 * GROUP);
    float c[8][COLUMNS];
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) c[i][j] = 0;

    a.fetch(depth);
    b.fetch(depth);
    a.put(slices);
    b.put(slices + SIZE_A);
    __syncthreads();
    const float *sa = slices + row, *sb = slices + SIZE_A + col;
    float* to = slices + SIZE;
    int flip = SIZE;
#pragma unroll 1
    for (int rest = depth; rest > 0; rest -= SLICE) {
        if (rest > SLICE) {
            a.fetch(rest - SLICE);
            b.fetch(rest - SLICE);
        }
        if (TF32) {
#pragma unroll
            for (int k = 0; k < SLICE; k += 8) fragments<COLUMNS, LoaderA::PITCH, LoaderB::PITCH>(c, sa + (k + quad) * LoaderA::PITCH, sb + (k + quad) * LoaderB::PITCH + group);
        } else {
#pragma unroll
            for (int k = 0; k < SLICE; k++) {
                float x[8], y[COLUMNS];
#pragma unroll
                for (int i = 0; i < 8; i += 4) *(float4*)&x[i] = *(const float4*)&sa[k * LoaderA::PITCH + i * 4];
#pragma unroll
                for (int j = 0; j < COLUMNS; j += GROUP) {
                    if (GROUP == 4) {
                        *(float4*)&y[j] = *(const float4*)&sb[k * LoaderB::PITCH + j * 8];
                    } else {
                        *(float2*)&y[j] = *(const float2*)&sb[k * LoaderB::PITCH + j * 8];
                    }
                }
#pragma unroll
                for (int i = 0; i < 8; i++)
#pragma unroll
                    for (int j = 0; j < COLUMNS; j++) c[i][j] = fmaf(x[i], y[j], c[i][j]);
            }
        }
        if (rest > SLICE) {
            a.put(to);
            b.put(to + SIZE_A);
        }
        sa += flip, sb += flip, flip = -flip, to += flip;
        __syncthreads();
    }

    out += (long long)blockIdx.z * p.out[0] + (long long)blockIdx.y * p.split;
    if (TF32) {
#pragma unroll
        for (int i = 0; i < 8; i += 2) { // elements e and e+1 are neighbours in a row
            const int r = row0 + row + i / 4 * 16 + i / 2 % 2 * 8;
            if (r >= p.m) continue;
            float* line = out + (long long)r * p.out[1];
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                const int first = col0 + col + j * 8 + quad * 2;
                if (p.vector) {
                    if (first < p.n) *(float2*)&line[first] = make_float2(c[i][j], c[i + 1][j]);
                } else {
                    if (first < p.n) line[(long long)first * p.out[2]] = c[i][j];
                    if (first + 1 < p.n) line[(long long)(first + 1) * p.out[2]] = c[i + 1][j];
                }
            }
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int r = row0 + row + i % 4 + i / 4 * 16;
        if (r >= p.m) continue;
        float* line = out + (long long)r * p.out[1];
#pragma unroll
        for (int j = 0; j < COLUMNS; j += GROUP) {
            const int first = col0 + col + j * 8;
            if (p.vector) {
                if (first >= p.n) continue;
                if (GROUP == 4) {
                    *(float4*)&line[first] = make_float4(c[i][j], c[i][(j + 1) % COLUMNS], c[i][(j + 2) % COLUMNS], c[i][(j + 3) % COLUMNS]);
                } else {
                    *(float2*)&line[first] = make_float2(c[i][j], c[i][j + 1]);
                }
                continue;
            }
#pragma unroll
            for (int l = 0; l < GROUP; l++)
                if (first + l < p.n) line[(long long)(first + l) * p.out[2]] = c[i][j + l];
        }
    }
}

// gemm_TILE: operands in aligned groups of 4; _any: any strides; _mask: with masks, either pointer may be null.
#define LOADS(NAME, DOWN, RIGHT, COLUMNS, PIECES, RESIDENT, TF32)                                                           \
    extern "C" __global__ void __launch_bounds__(DOWN * RIGHT * 32, RESIDENT)                                               \
    NAME(const float* __restrict__ A, const float* __restrict__ B, float* __restrict__ out, Product p) {                    \
        product<DOWN, RIGHT, COLUMNS, PIECES, true, false, TF32>(A, B, nullptr, nullptr, out, p);                           \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(DOWN * RIGHT * 32)                                                         \
    NAME##_any(const float* __restrict__ A, const float* __restrict__ B, float* __restrict__ out, Product p) {              \
        product<DOWN, RIGHT, COLUMNS, PIECES, false, false, TF32>(A, B, nullptr, nullptr, out, p);                          \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(DOWN * RIGHT * 32)                                                         \
    NAME##_mask(const float* __restrict__ A, const float* __restrict__ B, const float* __restrict__ maskA,                  \
                const float* __restrict__ maskB, float* __restrict__ out, Product p) {                                      \
        product<DOWN, RIGHT, COLUMNS, PIECES, true, true, TF32>(A, B, maskA, maskB, out, p);                                \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(DOWN * RIGHT * 32)                                                         \
    NAME##_any_mask(const float* __restrict__ A, const float* __restrict__ B, const float* __restrict__ maskA,              \
                    const float* __restrict__ maskB, float* __restrict__ out, Product p) {                                  \
        product<DOWN, RIGHT, COLUMNS, PIECES, false, true, TF32>(A, B, maskA, maskB, out, p);                               \
    }

LOADS(gemm_128, 4, 2, 8, 1, 2, false)
LOADS(gemm_64, 2, 2, 4, 2, 4, false)
LOADS(gemm_skinny, 4, 1, 2, 2, 4, false)
LOADS(gemm_128_tf32, 4, 2, 8, 2, 1, true)
LOADS(gemm_64_tf32, 2, 2, 4, 2, 4, true)

// Many small products: one thread for each element of out, the batch outermost.
extern "C" __global__ void __launch_bounds__(256)
gemm_tiny(const float* __restrict__ A, const float* __restrict__ B, const float* __restrict__ maskA, const float* __restrict__ maskB, float* __restrict__ out, Product p, int size) {
    for (int e = blockIdx.x * 256 + threadIdx.x; e < size; e += gridDim.x * 256) {
        const int line = e / p.n, j = e - line * p.n, i = line % p.m;
        const long long b = line / p.m;
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
        out[b * p.out[0] + (long long)i * p.out[1] + (long long)j * p.out[2]] = sum;
    }
}

// The second pass of a split product: out[b,i,j] = Σ_s parts[s,b,i,j], s ascending; parts is dense.
struct Parts {
    int batch, m, n, splits;
    int out[3];
};

extern "C" __global__ void __launch_bounds__(256) gemm_sum(const float* __restrict__ parts, float* __restrict__ out, Parts p) {
    const int size = p.batch * p.m * p.n;
    for (int e = blockIdx.x * 256 + threadIdx.x; e < size; e += gridDim.x * 256) {
        float sum = parts[e];
        for (int s = 1; s < p.splits; s++) sum += parts[(long long)s * size + e];
        const int line = e / p.n, column = e - line * p.n, b = line / p.m, row = line - b * p.m;
        out[(long long)b * p.out[0] + (long long)row * p.out[1] + (long long)column * p.out[2]] = sum;
    }
}
