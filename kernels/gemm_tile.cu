// Products of matrices in float32: out[b,i,j] = Σ_k A[b,i,k] B[b,k,j], any strides, masks multiplied in while loading.
//
// A block makes a tile of out. It walks along k in slices of one or two pieces of 8, which lie in shared memory with k
// as the slow axis: the next slice is on its way while the block multiplies the present one. Plain operands go straight
// to shared memory (cp.async); those that are masked travel through registers. The first slice takes what does not fill
// a whole one, zeros after it, so that nothing asks where k ends later on; lines beyond the end of an operand across
// repeat its last one, and what comes of them is not stored. Every element is one chain of fma over k in ascending
// order, from 0.
//
// On tensor cores (_tf32) factors are rounded to 11 significant bits, ties away from zero, as they are read from shared
// memory, and mma.m16n8k8 adds eight products at a time to a float32 sum (PTX ISA 9.7.14.5 has the fragments).
//
// Each kernel is a module of its own, so that a driver compiles those that a program uses: ENTRY names it.
#include "divide.cuh"

#define PIECE 8
#define BAND 16

// Sizes and strides. The strides of an operand are those of batch, its own axis of the tile (row of A, column of B),
// and k.
struct Product {
    int m, n, k;
    int a[3], b[3], maskA[3], maskB[3];
    int out[3];         // batch, row, column
    int depth;          // how much of k one split takes: a multiple of 16
    int rows;           // of tiles
    int alongA, alongB; // neighbouring threads load along k, not across
    int vector;         // out takes aligned groups of 4 columns
    int first;          // the batch of blockIdx.z = 0
    Divisor band, last; // tiles of a band, which is BAND rows of them; rows of the last band
};

// mark leaves a comment in the PTX where values of the result are about to be stored, which names their registers and
// those of their place: elements (row, column), (row, column + 1), … of a batch. An epilogue is text put in its place.
__device__ __forceinline__ void mark(float (&v)[2], int batch, int row, int column) {
    asm volatile("// epilogue of {%0, %1} at %2, %3, %4" : "+f"(v[0]), "+f"(v[1]) : "r"(batch), "r"(row), "r"(column));
}

__device__ __forceinline__ void mark(float (&v)[4], int batch, int row, int column) {
    asm volatile("// epilogue of {%0, %1, %2, %3} at %4, %5, %6"
                 : "+f"(v[0]), "+f"(v[1]), "+f"(v[2]), "+f"(v[3]) : "r"(batch), "r"(row), "r"(column));
}

__device__ __forceinline__ unsigned tf32(float x) {
    unsigned r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
    return r;
}

// copyAsync copies BYTES to shared memory, or zeros.
template <int BYTES> __device__ __forceinline__ void copyAsync(unsigned to, const float* from) {
    if (BYTES == 16) asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
    else asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from));
}

template <int BYTES> __device__ __forceinline__ void copyAsync(unsigned to, const float* from, bool inside) {
    if (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0));
    else asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(inside ? 4 : 0));
}

// Room says where row k of a slice begins, in words, so that the 32 lanes which read or write at once meet 32 different
// banks. Without tensor cores rows are 4 words longer than the tile is wide: then 8 rows of 4 neighbours, which is how
// threads store that load along k, lie in different banks, and so do 2 rows of 16 that are 4 apart. Fragments are read
// as 4 rows of 8 neighbours, which needs rows 8 words longer; 8 rows of 4 neighbours then lie in different banks if the
// second 4 of every 8 rows begin 4 words later, and 2 rows of 16 if they are 2 apart.
template <int WIDTH, bool TF32> struct Room {
    enum { PITCH = WIDTH + (TF32 ? 8 : 4), SHIFT = TF32 ? 4 : 0 };
    static __device__ constexpr int row(unsigned k) { return k * PITCH + k / 4 * SHIFT; }
};

// apart reorders 8 rows of 16 so that the two which a warp stores share no bank.
template <bool TF32> __device__ __forceinline__ int apart(int k) {
    return TF32 ? k & 4 | k % 2 * 2 | k / 2 % 2 : k / 2 + k % 2 * 4;
}

// What one thread copies of a slice of WIDTH x PIECES·8 elements, THREADS sharing the work, in groups of 4 contiguous
// and aligned across, or one by one at any strides: fetch begins, wait ends.
template <int WIDTH, int PIECES, int THREADS, bool GROUPS, bool MASK, bool TF32> struct Loader {
    typedef Room<WIDTH, TF32> At;
    enum {
        UNIT = GROUPS ? 4 : 1,
        // single elements of a piece: so many across at a time, PIECE along k
        CHUNK = THREADS / PIECE,
        TALL = 4 * THREADS / WIDTH,                   // groups: all across at a time, so many along k
        COUNT = GROUPS ? PIECE / TALL : WIDTH / CHUNK, // of a piece, for one thread
        ACROSS = GROUPS ? 0 : CHUNK,                  // from each to the next
        ALONG = GROUPS ? TALL : 0,
    };
    const float* from;
    unsigned off[COUNT]; // elements from there
    unsigned step;       // elements along k
    unsigned place;      // of the first in shared memory, bytes
    int along;           // its place in the piece

    __device__ __forceinline__ void start(
        const float* data, const int s[3], const float*, const int*, int first, int extent, int k0, bool alongK) {
        const int tid = threadIdx.x;
        int across;
        if (GROUPS) {
            across = tid % (WIDTH / 4) * 4, along = tid / (WIDTH / 4);
        } else if (alongK) {
            across = tid / PIECE, along = tid % PIECE;
        } else {
            across = tid % CHUNK, along = tid / CHUNK;
            if (CHUNK == 16) along = apart<TF32>(along);
        }
        step = s[2];
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            off[i] = (unsigned)min(first + across + i * ACROSS, extent - UNIT) * s[1] + (along + i * ALONG) * step;
        from = data + (long long)k0 * step + (long long)blockIdx.z * s[0];
        place = (At::row(along) + across) * 4;
    }

    // fetch begins to copy a slice, rest of its columns if it is the first, and moves on to the next.
    template <bool FIRST> __device__ __forceinline__ void fetch(unsigned slice, int rest) {
#pragma unroll
        for (int h = 0; h < PIECES; h++) {
            const float* piece = from + (unsigned)(h * PIECE) * step;
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
                const int k = h * PIECE + i * ALONG;
                const unsigned to = slice + place + (At::row(k) + i * ACROSS) * 4;
                if (FIRST) copyAsync<4 * UNIT>(to, piece + off[i], along + k < rest);
                else copyAsync<4 * UNIT>(to, piece + off[i]);
            }
        }
        from += (unsigned)(FIRST ? rest : PIECES * PIECE) * step;
    }

    __device__ __forceinline__ void put(unsigned) {}
    static __device__ __forceinline__ void wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }
};

// The same where elements are multiplied by a mask on the way: fetch loads to registers, put stores.
template <int WIDTH, int PIECES, int THREADS, bool GROUPS, bool TF32>
struct Loader<WIDTH, PIECES, THREADS, GROUPS, true, TF32> {
    typedef Room<WIDTH, TF32> At;
    enum {
        UNIT = GROUPS ? 4 : 1,
        UNITS = WIDTH * PIECE / UNIT,                  // of a piece
        COUNT = UNITS < THREADS ? 1 : UNITS / THREADS, // of a piece, for one thread
    };
    float value[PIECES][COUNT][UNIT], factor[PIECES][COUNT][UNIT];
    const float *from, *fromMask;
    unsigned off[COUNT], offMask[COUNT]; // elements from there
    int along, stepAlong, stepAcross;    // place in the piece of the first unit, and from each unit to the next
    int step, stepMask;                  // elements along k
    int place;                           // of the first unit in shared memory
    bool alongK;

    __device__ __forceinline__ void start(const float* data, const int s[3], const float* mask, const int sm[3],
        int first, int extent, int k0, bool runAlong) {
        const int tid = threadIdx.x;
        int across;
        alongK = runAlong;
        if (alongK) {
            across = tid / (PIECE / UNIT), along = tid % (PIECE / UNIT) * UNIT;
            // rows 4 apart begin 4 words apart: a warp takes every other 4 lines
            if (TF32 && GROUPS) across = across & ~20 | (across & 4) << 2 | (across & 16) >> 2;
            stepAcross = THREADS * UNIT / PIECE, stepAlong = 0;
        } else {
            across = tid % (WIDTH / UNIT) * UNIT, along = tid / (WIDTH / UNIT);
            stepAcross = 0, stepAlong = THREADS * UNIT / WIDTH;
            if (WIDTH == 16) along = apart<TF32>(along);
        }
        place = At::row(along) + across;
        step = s[2], stepMask = sm[2];
        const int last = extent - (alongK ? 1 : UNIT);
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            const unsigned line = min(first + across + i * stepAcross, last), column = along + i * stepAlong;
            off[i] = line * s[1] + column * step;
            offMask[i] = line * sm[1] + column * stepMask;
        }
        from = data + (long long)k0 * step + (long long)blockIdx.z * s[0];
        fromMask = mask ? mask + (long long)k0 * stepMask + (long long)blockIdx.z * sm[0] : nullptr;
    }

    static __device__ __forceinline__ void read(float to[UNIT], const float* p) {
        if (GROUPS) {
            const float4 v = __ldg((const float4*)p);
            to[0] = v.x, to[1 % UNIT] = v.y, to[2 % UNIT] = v.z, to[3 % UNIT] = v.w;
        } else {
            to[0] = __ldg(p);
        }
    }

    // fetch loads a slice, rest of its columns if it is the first, and moves on to the next.
    template <bool FIRST> __device__ __forceinline__ void fetch(unsigned, int rest) {
        if (UNITS < THREADS && threadIdx.x >= UNITS) return;
#pragma unroll
        for (int h = 0; h < PIECES; h++)
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
#pragma unroll
                for (int j = 0; j < UNIT; j++) {
                    if (FIRST) value[h][i][j] = 0;
                    factor[h][i][j] = 1;
                }
                if (FIRST && along + i * stepAlong + h * PIECE >= rest) continue;
                read(value[h][i], from + (long long)h * PIECE * step + off[i]);
                if (fromMask) read(factor[h][i], fromMask + (long long)h * PIECE * stepMask + offMask[i]);
            }
        from += (long long)(FIRST ? rest : PIECES * PIECE) * step;
        if (fromMask) fromMask += (long long)(FIRST ? rest : PIECES * PIECE) * stepMask;
    }

    static __device__ __forceinline__ void wait() {}

    // put stores what was fetched as slice[k][across].
    __device__ __forceinline__ void put(unsigned slice) {
        if (UNITS < THREADS && threadIdx.x >= UNITS) return;
#pragma unroll
        for (int h = 0; h < PIECES; h++)
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
                float* v = value[h][i];
#pragma unroll
                for (int j = 0; j < UNIT; j++) v[j] = __fmul_rn(v[j], factor[h][i][j]);
                const unsigned to = slice + (place + At::row(h * PIECE + i * stepAlong) + i * stepAcross) * 4;
                // in assembly, because the compiler would take this store and those below to pieces
                if (GROUPS && !alongK) {
                    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(v[0]), "f"(v[1 % UNIT]),
                        "f"(v[2 % UNIT]), "f"(v[3 % UNIT])
                        : "memory");
                } else {
#pragma unroll
                    for (int j = 0; j < UNIT; j++) *(float*)__cvta_shared_to_generic(to + At::row(j) * 4) = v[j];
                }
            }
    }
};

// fragments adds eight columns of A times eight rows of B, on tensor cores, to fragments of 16 x 8 of the result. An
// instruction takes the four elements of A and the two of B that are a lane's in registers next to each other. So that
// loads put them there, and none is moved, two neighbouring lines of A, read at once, are lines g and g + 8 of a
// fragment, at columns k and k + 4; of B a lane reads its line at each of these, one by one. a is where the lane's pair
// of lines begins, at its k, b its line.
template <int LINES, int COLUMNS, class RoomA, class RoomB>
__device__ __forceinline__ void fragments(float c[LINES][COLUMNS], const float* a, const float* b) {
    unsigned x[LINES / 4][4], y[COLUMNS][2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float *left = a + RoomA::row(half * 4), *right = b + RoomB::row(half * 4);
#pragma unroll
        for (int i = 0; i < LINES / 4; i++) {
            const float2 pair = *(const float2*)&left[i * 16];
            x[i][2 * half] = tf32(pair.x), x[i][2 * half + 1] = tf32(pair.y);
        }
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) y[j][half] = tf32(right[j * 8]);
    }
#pragma unroll
    for (int i = 0; i < LINES / 4; i++)
#pragma unroll
        for (int j = 0; j < COLUMNS; j++)
            asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                "{%0,%1,%2,%3};"
                : "+f"(c[4 * i][j]), "+f"(c[4 * i + 1][j]), "+f"(c[4 * i + 2][j]), "+f"(c[4 * i + 3][j])
                : "r"(x[i][0]), "r"(x[i][1]), "r"(x[i][2]), "r"(x[i][3]), "r"(y[j][0]), "r"(y[j][1]));
}

// store writes neighbouring columns of a row, those that exist.
template <int N>
__device__ __forceinline__ void store(float (&v)[N], float* line, int batch, int row, int column, const Product& p) {
    mark(v, batch, row, column);
    if (p.vector) {
        if (N == 4) *(float4*)&line[column] = make_float4(v[0], v[1], v[2 % N], v[3 % N]);
        else *(float2*)&line[column] = make_float2(v[0], v[1]);
        return;
    }
#pragma unroll
    for (int l = 0; l < N; l++)
        if (column + l < p.n) line[(long long)(column + l) * p.out[2]] = v[l];
}

// whole adds up the parts of a tile whose k is split among blocks: each leaves its own, and the last of them has the
// sum in c, of the parts in ascending order whoever came last; to the others it says false. The tile's counter is 0
// before and after. A thread has the same elements in every block, so parts lie as threads hold them. Where it is is
// read anew, so that no register holds it during the main loop.
template <int THREADS, int LINES, int COLUMNS>
__device__ __forceinline__ bool whole(
    float (&c)[LINES][COLUMNS], float* parts, unsigned* counters, int batch, unsigned* last) {
    const int SIZE = LINES * COLUMNS * THREADS;
    unsigned tile, split, thread;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(tile));
    asm volatile("mov.u32 %0, %%ctaid.y;" : "=r"(split));
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    tile += batch * gridDim.x;
    float* first = parts + (long long)tile * gridDim.y * SIZE + thread;
    float* mine = first + split * SIZE;
#pragma unroll
    for (int i = 0; i < LINES * COLUMNS; i++) mine[i * THREADS] = c[i / COLUMNS][i % COLUMNS];
    __threadfence();
    __syncthreads();
    if (thread == 0) *last = atomicInc(counters + tile, gridDim.y - 1) == gridDim.y - 1;
    __syncthreads();
    if (!*last) return false;
    __threadfence();
#pragma unroll
    for (int i = 0; i < LINES * COLUMNS; i++) c[i / COLUMNS][i % COLUMNS] = __ldcg(first + i * THREADS);
#pragma unroll 1
    for (int s = gridDim.y - 1; s > 0; s--) {
        first += SIZE;
#pragma unroll
        for (int i = 0; i < LINES * COLUMNS; i++) c[i / COLUMNS][i % COLUMNS] += __ldcg(first + i * THREADS);
    }
    return true;
}

// corner says which row and column of tiles a block has: blocks that run together take tiles near each other, bands of 16
// tiles down, column by column.
__device__ __forceinline__ void corner(int& row, int& column, unsigned block, const Product& p) {
    const int band = divide(block, p.band); // block is now the number within the band
    if ((band + 1) * BAND > p.rows) column = divide(block, p.last);
    else column = block / BAND, block %= BAND;
    row = band * BAND + block;
}

// Lane says where in the tile of its warp a lane's elements begin: its row, and its column, in pairs on tensor cores and
// in groups elsewhere.
struct Lane {
    int row, column;
    __device__ __forceinline__ Lane(int thread, bool tf32) {
        const int lane = thread % 32;
        row = tf32 ? lane / 4 * 2 : (lane % 2 + lane / 8 % 2 * 2) * 4;
        column = tf32 ? lane % 4 : lane / 2 % 4 + lane / 16 * 4;
    }
};

// A warp makes 4·LINES rows and 8·COLUMNS columns, DOWN x RIGHT warps the tile. Its 4 x 8 lanes have LINES rows and
// COLUMNS columns each: groups of 4 rows 16 apart and of 4 columns 32 apart. Lanes lie so that each pair whose numbers
// differ in the lowest bit reads one address of B, and each pair whose numbers differ in the bit above one address of A:
// loads of 16 bytes are then said to take half as many accesses (CUTLASS lays lanes out for it; no card has confirmed it
// here). On tensor cores the tile of a warp is cut into fragments of 16 x 8: fragment rows g and g + 8 are neighbouring
// rows of the result; c[4i+e][j] is element e of fragment (i, j), so that 0 and 1 are neighbours in a row, and 2 and 3 in
// the row below.
template <int DOWN, int RIGHT, int LINES, int COLUMNS, int PIECES, bool GROUPS_A, bool GROUPS_B, bool MASK, bool TF32>
__device__ __forceinline__ void product(
    const float* A, const float* B, const float* maskA, const float* maskB, float* out, float* parts, unsigned* counters,
    const Product& p) {
    const int THREADS = DOWN * RIGHT * 32, TALL = DOWN * 4 * LINES, WIDE = RIGHT * 8 * COLUMNS, SLICE = PIECES * PIECE;
    const int GROUP = COLUMNS < 4 ? COLUMNS : 4; // neighbouring columns of a lane
    typedef Loader<TALL, PIECES, THREADS, GROUPS_A, MASK, TF32> LoaderA;
    typedef Loader<WIDE, PIECES, THREADS, GROUPS_B, MASK, TF32> LoaderB;
    typedef Room<TALL, TF32> RoomA;
    typedef Room<WIDE, TF32> RoomB;
    const int SIZE_A = RoomA::row(SLICE), SIZE = SIZE_A + RoomB::row(SLICE);
    __shared__ __align__(16) float slices[2 * SIZE]; // of A, of B; the same for the next slice

    int row0, col0;
    corner(row0, col0, blockIdx.x, p);
    row0 *= TALL, col0 *= WIDE;
    const int k0 = blockIdx.y * p.depth, depth = min(p.depth, p.k - k0);

    LoaderA a;
    LoaderB b;
    a.start(A, p.a, maskA, p.maskA, row0, p.m, k0, p.alongA);
    b.start(B, p.b, maskB, p.maskB, col0, p.n, k0, p.alongB);

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const Lane own(threadIdx.x, TF32);
    const int pair = lane / 4, quad = lane % 4; // on tensor cores: of lines; k
    const int row = warp / RIGHT * 4 * LINES + own.row, left = warp % RIGHT * 8 * COLUMNS;
    float c[LINES][COLUMNS];
#pragma unroll
    for (int i = 0; i < LINES; i++)
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) c[i][j] = 0;

    const int rest = depth > 0 ? (depth - 1) % SLICE + 1 : 0;
    unsigned to = (unsigned)__cvta_generic_to_shared(slices); // addresses as 32 bits, where they stay
    a.template fetch<true>(to, rest);
    b.template fetch<true>(to + SIZE_A * 4, rest);
    a.put(to);
    b.put(to + SIZE_A * 4);
    LoaderB::wait();
    __syncthreads();
    unsigned fromA = to + (row + (TF32 ? RoomA::row(quad) : 0)) * 4;
    unsigned fromB = to + (SIZE_A + left + (TF32 ? pair + RoomB::row(quad) : own.column * GROUP)) * 4;
    int flip = SIZE * 4;
    to += flip;
#pragma unroll 1
    for (int ahead = depth - rest; depth > 0; ahead -= SLICE) {
        const float *sa = (const float*)__cvta_shared_to_generic(fromA),
                    *sb = (const float*)__cvta_shared_to_generic(fromB);
        if (ahead > 0) {
            a.template fetch<false>(to, SLICE);
            b.template fetch<false>(to + SIZE_A * 4, SLICE);
        }
        if (TF32) {
#pragma unroll
            for (int k = 0; k < SLICE; k += 8)
                fragments<LINES, COLUMNS, RoomA, RoomB>(c, sa + RoomA::row(k), sb + RoomB::row(k));
        } else {
#pragma unroll
            for (int k = 0; k < SLICE; k++) {
                float x[LINES], y[COLUMNS];
#pragma unroll
                for (int i = 0; i < LINES; i += 4) *(float4*)&x[i] = *(const float4*)&sa[RoomA::row(k) + i * 4];
#pragma unroll
                for (int j = 0; j < COLUMNS; j += GROUP) {
                    if (GROUP == 4) *(float4*)&y[j] = *(const float4*)&sb[RoomB::row(k) + j * 8];
                    else *(float2*)&y[j] = *(const float2*)&sb[RoomB::row(k) + j * 8];
                }
#pragma unroll
                for (int i = 0; i < LINES; i++)
#pragma unroll
                    for (int j = 0; j < COLUMNS; j++) c[i][j] = fmaf(x[i], y[j], c[i][j]);
            }
        }
        if (ahead <= 0) break;
        a.put(to);
        b.put(to + SIZE_A * 4);
        LoaderB::wait();
        fromA += flip, fromB += flip, flip = -flip, to += flip;
        __syncthreads();
    }

    const int batch = p.first + blockIdx.z;
    unsigned block, thread; // read anew, so that no register holds what follows from them during the main loop
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    // slices have served: whole has a barrier before it writes there
    if (gridDim.y > 1 && !whole<THREADS>(c, parts, counters, batch, (unsigned*)slices)) return;
    out += (long long)blockIdx.z * p.out[0];
    corner(row0, col0, block, p);
    const Lane mine(thread, TF32);
    row0 = row0 * TALL + thread / 32 / RIGHT * 4 * LINES + mine.row;
    col0 = col0 * WIDE + thread / 32 % RIGHT * 8 * COLUMNS + mine.column * (TF32 ? 2 : GROUP);
#pragma unroll
    for (int i = 0; i < LINES; i += TF32 ? 2 : 1) {
        const int r = row0 + (TF32 ? i / 2 % 2 : i % 4) + i / 4 * 16;
        if (r >= p.m) continue;
        float* to = out + (long long)r * p.out[1];
#pragma unroll
        for (int j = 0; j < COLUMNS; j += TF32 ? 1 : GROUP) {
            const int WIDTH = TF32 ? 2 : GROUP, first = col0 + j * 8;
            float v[WIDTH];
#pragma unroll
            for (int l = 0; l < WIDTH; l++) v[l] = TF32 ? c[i + l][j] : c[i][j + l];
            if (first < p.n) store(v, to, batch, r, first, p);
        }
    }
}

// The kernels: warps of a tile down and right, lines and columns of a lane, pieces of a slice, blocks that a processor
// must hold; whether A and B are loaded in groups of 4; masks (either pointer may be null); tensor cores.
#define TILE_128 4, 2, 8, 8, 1
#define TILE_64 2, 2, 8, 4, 2
#define TILE_SKINNY 4, 1, 8, 2, 2
#define TILE_128_TF32 2, 2, 16, 8, 2
#define TILE_128_TF32_MASK 2, 2, 16, 8, 1
#define ROW_gemm_128 TILE_128, 2, true, true, false, false
#define ROW_gemm_128_a TILE_128, 2, false, true, false, false
#define ROW_gemm_128_b TILE_128, 2, true, false, false, false
#define ROW_gemm_128_any TILE_128, 2, false, false, false, false
#define ROW_gemm_128_mask TILE_128, 1, true, true, true, false
#define ROW_gemm_128_any_mask TILE_128, 1, false, false, true, false
#define ROW_gemm_64 TILE_64, 4, true, true, false, false
#define ROW_gemm_64_a TILE_64, 4, false, true, false, false
#define ROW_gemm_64_b TILE_64, 4, true, false, false, false
#define ROW_gemm_64_any TILE_64, 4, false, false, false, false
#define ROW_gemm_64_mask TILE_64, 1, true, true, true, false
#define ROW_gemm_64_any_mask TILE_64, 1, false, false, true, false
#define ROW_gemm_skinny_b TILE_SKINNY, 4, true, false, false, false
#define ROW_gemm_skinny_any TILE_SKINNY, 4, false, false, false, false
#define ROW_gemm_skinny_mask TILE_SKINNY, 1, true, true, true, false
#define ROW_gemm_skinny_any_mask TILE_SKINNY, 1, false, false, true, false
#define ROW_gemm_128_tf32 TILE_128_TF32, 2, true, true, false, true
#define ROW_gemm_128_tf32_a TILE_128_TF32, 2, false, true, false, true
#define ROW_gemm_128_tf32_b TILE_128_TF32, 2, true, false, false, true
#define ROW_gemm_128_tf32_any TILE_128_TF32, 2, false, false, false, true
#define ROW_gemm_128_tf32_mask TILE_128_TF32_MASK, 1, true, true, true, true
#define ROW_gemm_128_tf32_any_mask TILE_128_TF32_MASK, 1, false, false, true, true
#define ROW_gemm_64_tf32 TILE_64, 4, true, true, false, true
#define ROW_gemm_64_tf32_a TILE_64, 4, false, true, false, true
#define ROW_gemm_64_tf32_b TILE_64, 4, true, false, false, true
#define ROW_gemm_64_tf32_any TILE_64, 4, false, false, false, true
#define ROW_gemm_64_tf32_mask TILE_64, 1, true, true, true, true
#define ROW_gemm_64_tf32_any_mask TILE_64, 1, false, false, true, true

#define KERNEL(...) KERNEL_(__VA_ARGS__)
#define KERNEL_(DOWN, RIGHT, LINES, COLUMNS, PIECES, RESIDENT, GROUPS_A, GROUPS_B, MASK, TF32)                                     \
    extern "C" __global__ void __launch_bounds__(DOWN * RIGHT * 32, RESIDENT)                                               \
    ENTRY(const float* __restrict__ A, const float* __restrict__ B, const float* __restrict__ maskA,                        \
          const float* __restrict__ maskB, float* __restrict__ out, float* parts, unsigned* counters, Product p) {          \
        product<DOWN, RIGHT, LINES, COLUMNS, PIECES, GROUPS_A, GROUPS_B, MASK, TF32>(                                       \
            A, B, maskA, maskB, out, parts, counters, p);                                                                   \
    }
#define ROW(NAME) ROW_(NAME)
#define ROW_(NAME) ROW_##NAME
KERNEL(ROW(ENTRY))
