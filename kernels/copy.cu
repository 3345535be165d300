// Copies of up to 6 axes with any strides; casts as ToReal (nearest even) and ToInt (toward zero; NaN and values
// outside int32 give 0).
//
// Each kernel is a module of its own, so that a driver compiles those that a program uses: ENTRY names it. Numbers of
// elements are unsigned, since the next one of a thread may lie beyond 2^31.
#include "divide.cuh"

struct Copy {
    unsigned size;
    int rank;
    Divisor shape[6];      // the last is the innermost axis; the first 6 - rank are not used
    int from[6], to[6];    // strides
    Divisor right;         // tiles of 32 along the innermost axis
};

enum { WORDS, TO_REAL, TO_INT };

template <int CAST> __device__ __forceinline__ unsigned cast(unsigned w) {
    if (CAST == TO_REAL) return __float_as_uint(__int2float_rn((int)w));
    if (CAST == TO_INT) {
        const float x = __uint_as_float(w);
        return x >= -2147483648.0f && x < 2147483648.0f ? __float2int_rz(x) : 0;
    }
    return w;
}

// place turns a number into the point of the axes up to INNER that it counts, and gives its places in from and to.
template <int INNER> __device__ __forceinline__ void place(const Copy& p, unsigned e, long long& from, long long& to) {
    from = 0, to = 0;
#pragma unroll
    for (int a = INNER; a >= 0; a--) {
        if (a < 6 - p.rank) break;
        const unsigned rest = divide(e, p.shape[a]);
        from += (long long)e * p.from[a], to += (long long)e * p.to[a], e = rest;
    }
}

// Any strides, one thread an element, the last axis fastest. from and to may be the same elements.
template <int CAST> __device__ __forceinline__ void strided(const unsigned* from, unsigned* to, const Copy& p) {
    for (unsigned e = blockIdx.x * 256 + threadIdx.x; e < p.size; e += gridDim.x * 256) {
        long long i, o;
        place<5>(p, e, i, o);
        to[o] = cast<CAST>(from[i]);
    }
}

// Both contiguous, in groups of 4 words; size counts words.
template <int CAST> __device__ __forceinline__ void dense(const unsigned* from, unsigned* to, unsigned size) {
    const unsigned groups = size / 4;
    for (unsigned e = blockIdx.x * 256 + threadIdx.x; e < groups; e += gridDim.x * 256) {
        const uint4 v = ((const uint4*)from)[e];
        ((uint4*)to)[e] = make_uint4(cast<CAST>(v.x), cast<CAST>(v.y), cast<CAST>(v.z), cast<CAST>(v.w));
    }
    const unsigned e = groups * 4 + threadIdx.x;
    if (blockIdx.x == 0 && e < size) to[e] = cast<CAST>(from[e]);
}

// The plane of the last two axes is turned: from runs along the last but one, to along the last. Blocks of 32 x 8
// threads carry 32 x 32 tiles through shared memory; tiles along x, planes (of the other axes) along y.
template <int CAST> __device__ __forceinline__ void turned(const unsigned* from, unsigned* to, const Copy& p) {
    __shared__ unsigned tile[32][33];
    const int a = 4, b = 5, rows = p.shape[a].n, columns = p.shape[b].n;
    unsigned b0 = blockIdx.x;
    const int a0 = divide(b0, p.right) * 32;
    b0 *= 32;
    long long i0, o0;
    place<3>(p, blockIdx.y, i0, o0);
    from += i0, to += o0;
#pragma unroll
    for (int i = threadIdx.y; i < 32; i += 8)
        if (a0 + threadIdx.x < rows && b0 + i < columns)
            tile[i][threadIdx.x] =
                __ldg(from + (long long)(a0 + threadIdx.x) * p.from[a] + (long long)(b0 + i) * p.from[b]);
    __syncthreads();
#pragma unroll
    for (int i = threadIdx.y; i < 32; i += 8)
        if (a0 + i < rows && b0 + threadIdx.x < columns)
            to[(long long)(a0 + i) * p.to[a] + (long long)(b0 + threadIdx.x) * p.to[b]] =
                cast<CAST>(tile[threadIdx.x][i]);
}

// Every element of to becomes word.
__device__ __forceinline__ void filled(unsigned* to, unsigned word, const Copy& p) {
    for (unsigned e = blockIdx.x * 256 + threadIdx.x; e < p.size; e += gridDim.x * 256) {
        long long i, o;
        place<5>(p, e, i, o);
        to[o] = word;
    }
}

#define ANY (const unsigned* from, unsigned* to, Copy p)
#define APART (const unsigned* __restrict__ from, unsigned* __restrict__ to, Copy p)
#define KERNEL_copy_strided ANY { strided<WORDS>(from, to, p); }
#define KERNEL_copy_dense ANY { dense<WORDS>(from, to, p.size); }
#define KERNEL_copy_turned APART { turned<WORDS>(from, to, p); }
#define KERNEL_to_real_strided ANY { strided<TO_REAL>(from, to, p); }
#define KERNEL_to_real_dense ANY { dense<TO_REAL>(from, to, p.size); }
#define KERNEL_to_real_turned APART { turned<TO_REAL>(from, to, p); }
#define KERNEL_to_int_strided ANY { strided<TO_INT>(from, to, p); }
#define KERNEL_to_int_dense ANY { dense<TO_INT>(from, to, p.size); }
#define KERNEL_to_int_turned APART { turned<TO_INT>(from, to, p); }
#define KERNEL_fill (unsigned* __restrict__ to, unsigned word, Copy p) { filled(to, word, p); }

#define KERNEL(NAME) KERNEL_(NAME)
#define KERNEL_(NAME) KERNEL_##NAME
extern "C" __global__ void __launch_bounds__(256) ENTRY KERNEL(ENTRY)
