// out[i] = the first column of the largest element of row i; NaN is larger than any number.
// Each lane walks its columns in ascending order, then lanes are compared in a tree; ties go to the smaller column.
#define FULL 0xffffffffu

struct Select {
    int rows, cols;
    int z[2], out; // strides of row and column; of out
};

struct Best {
    float value;
    int at;
};

// before says whether a is to be taken rather than b: NaN first, then larger, then earlier.
__device__ __forceinline__ bool before(Best a, Best b) {
    const bool x = isnan(a.value), y = isnan(b.value);
    if (x != y) return x;
    if (!x && a.value != b.value) return a.value > b.value;
    return a.at < b.at;
}

__device__ __forceinline__ Best across(Best b, int width) {
    for (int o = width / 2; o > 0; o /= 2) {
        const Best other = {__shfl_xor_sync(FULL, b.value, o), __shfl_xor_sync(FULL, b.at, o)};
        if (before(other, b)) b = other;
    }
    return b;
}

// Groups of width lanes, a power of 2 up to 32, have a row each.
extern "C" __global__ void __launch_bounds__(256)
    argmax_short(const float* __restrict__ z, int* __restrict__ out, Select p, int width) {
    const int lane = threadIdx.x & width - 1, row = (blockIdx.x * 256 + threadIdx.x) >> __popc(width - 1);
    Best best = {__int_as_float(0xff800000), 0x7fffffff};
    if (row < p.rows)
#pragma unroll 1 // else the number of turns is computed, by a division
        for (int j = lane; j < p.cols; j += width) {
            const Best next = {z[(long long)row * p.z[0] + (long long)j * p.z[1]], j};
            if (before(next, best)) best = next;
        }
    best = across(best, width);
    if (row < p.rows && lane == 0) out[(long long)row * p.out] = best.at;
}

// A block of 256 threads has a row.
extern "C" __global__ void __launch_bounds__(256)
    argmax_long(const float* __restrict__ z, int* __restrict__ out, Select p) {
    __shared__ Best room[8];
    for (int row = blockIdx.x; row < p.rows; row += gridDim.x) {
        Best best = {__int_as_float(0xff800000), 0x7fffffff};
        for (int j = threadIdx.x; j < p.cols; j += 256) {
            const Best next = {z[(long long)row * p.z[0] + (long long)j * p.z[1]], j};
            if (before(next, best)) best = next;
        }
        best = across(best, 32);
        if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = best;
        __syncthreads();
        best = across(room[threadIdx.x % 8], 8);
        if (threadIdx.x == 0) out[(long long)row * p.out] = best.at;
        __syncthreads();
    }
}

// The place of the k-th largest of several arrays, which count as one. An element has a key of 32 + p.places bits: its
// number upside down (the larger, the smaller; NaN 0, both zeros the same), then its place, so that no two keys are
// equal. A launch of kth_count counts those keys that begin with the digits found so far by their next digit; the
// blocks of the next launch find from the counts the digit that the k-th smallest key has. kth_place finds the last
// one, and the key tells the place.
#define DIGIT 11
#define BINS (1 << DIGIT)
#define PITCH 260 // of the bins in shared memory: those of 32 neighbouring digits lie in 32 banks

#define PARTS 8
struct Kth {
    int n, places, pass;                         // elements; bits of a place; digits known before this launch's
    int size[PARTS], stride[PARTS], first[PARTS]; // of each array; place of its first element
};

// What is known of the k-th key: its first digits, and how many keys that begin with them come before it.
struct Cut {
    unsigned long long prefix, before; // both 64 bits: padding would be copied too
};

// Scratch memory: the cut before each pass, and the counts of each pass. The count of digit d lies at d % 8 * 256 + d /
// 8.
#define PASSES 6
struct Scratch {
    Cut cuts[PASSES];
    unsigned counts[PASSES][BINS];
};

__device__ __forceinline__ unsigned upside_down(unsigned bits) {
    const unsigned size = bits << 1;
    if (size > 0xff000000u) return 0;
    if (size == 0) return 0x7fffffffu;
    return bits ^ (bits >> 31 ? 0u : 0x7fffffffu);
}

// Bits of a key below its first `digits` digits.
__device__ __forceinline__ int below(Kth p, int digits) { return max(32 + p.places - DIGIT * digits, 0); }

__device__ __forceinline__ Cut cut(const int* k, const Scratch* scratch, Kth p) {
    __shared__ unsigned sums[8];
    __shared__ Cut found;
    const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
    if (p.pass == 0) return {0, (unsigned)(*k < 1 || *k > p.n ? 0 : *k - 1)};
    const Cut last = scratch->cuts[p.pass - 1];
    unsigned counts[8], sum = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) sum += counts[i] = scratch->counts[p.pass - 1][i * 256 + tid];
    unsigned upto = sum;
    for (int o = 1; o < 32; o *= 2) {
        const unsigned other = __shfl_up_sync(FULL, upto, o);
        if (lane >= o) upto += other;
    }
    if (lane == 31) sums[warp] = upto;
    __syncthreads();
    for (int w = 0; w < warp; w++) upto += sums[w];
    if (last.before < upto && last.before >= upto - sum) {
        unsigned before = (unsigned)last.before - (upto - sum);
        int digit = 0;
#pragma unroll
        for (int i = 0; i < 7; i++)
            if (digit == i && before >= counts[i]) before -= counts[i], digit++;
        found = {last.prefix << (below(p, p.pass - 1) - below(p, p.pass)) | (8 * tid + digit), before};
    }
    __syncthreads();
    return found;
}

// Block row y has array y. The counts are zero before.
extern "C" __global__ void __launch_bounds__(256) kth_count(const unsigned* __restrict__ x0,
    const unsigned* __restrict__ x1, const unsigned* __restrict__ x2, const unsigned* __restrict__ x3,
    const unsigned* __restrict__ x4, const unsigned* __restrict__ x5, const unsigned* __restrict__ x6,
    const unsigned* __restrict__ x7, const int* __restrict__ k, Scratch* scratch, Kth p) {
    __shared__ unsigned bins[8 * PITCH];
    for (int i = threadIdx.x; i < 8 * PITCH; i += 256) bins[i] = 0;
    __syncthreads();
    const Cut c = cut(k, scratch, p);
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) scratch->cuts[p.pass] = c;

    const unsigned* x = x0;
    int size = p.size[0], stride = p.stride[0], first = p.first[0];
#define PART(i) if (blockIdx.y == i) x = x##i, size = p.size[i], stride = p.stride[i], first = p.first[i];
    PART(1) PART(2) PART(3) PART(4) PART(5) PART(6) PART(7)
    const int above = below(p, p.pass), shift = below(p, p.pass + 1);
    const unsigned mask = (1u << (above - shift)) - 1;
    unsigned from = 0, end = size;
    if (above < p.places) { // digits of the place are known: elements elsewhere are not read
        const long long place = (long long)(c.prefix << above & (1ull << p.places) - 1) - first;
        from = max(place, 0ll), end = max(min(place + (1ll << above), (long long)size), 0ll);
    }
#pragma unroll 4
    for (unsigned i = from + blockIdx.x * 256 + threadIdx.x; i < end; i += gridDim.x * 256) {
        const unsigned long long key =
            (unsigned long long)upside_down(__ldg(x + (long long)(int)i * stride)) << p.places | (first + i);
        if (key >> above == c.prefix) {
            const unsigned digit = (unsigned)(key >> shift) & mask;
            atomicAdd(&bins[digit % 8 * PITCH + digit / 8], 1u);
        }
    }
    __syncthreads();
    for (int i = 0; i < 8; i++) {
        const unsigned n = bins[i * PITCH + threadIdx.x];
        if (n) atomicAdd(&scratch->counts[p.pass][i * 256 + threadIdx.x], n);
    }
}

// p.pass is the number of passes. A k outside 1…n writes nothing but the fault word: k itself, at position 0 (see
// gather.cu).
extern "C" __global__ void __launch_bounds__(256)
kth_place(const int* __restrict__ k, const Scratch* scratch, int* __restrict__ out, unsigned long long* fault, Kth p) {
    const Cut c = cut(k, scratch, p);
    if (threadIdx.x > 0) return;
    if (*k < 1 || *k > p.n) atomicMin(fault, (unsigned long long)(unsigned)*k);
    else *out = (int)(c.prefix & ((1ull << p.places) - 1));
}
