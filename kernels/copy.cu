// Copies of up to 6 axes with any strides; casts as ToReal (nearest even) and ToInt (toward zero; NaN and values
// outside int32 give 0).
struct Copy {
    int size, rank;
    int shape[6], from[6], to[6]; // the last is the innermost axis; the first 6 - rank are not used
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
template <int INNER> __device__ __forceinline__ void place(const Copy& p, int e, long long& from, long long& to) {
    from = 0, to = 0;
#pragma unroll
    for (int a = INNER; a >= 0; a--) {
        if (a < 6 - p.rank) break;
        const int rest = e / p.shape[a], i = e - rest * p.shape[a];
        from += (long long)i * p.from[a], to += (long long)i * p.to[a], e = rest;
    }
}

// Any strides, one thread an element, the last axis fastest. from and to may be the same elements.
template <int CAST> __device__ __forceinline__ void strided(const unsigned* from, unsigned* to, const Copy& p) {
    for (int e = blockIdx.x * 256 + threadIdx.x; e < p.size; e += gridDim.x * 256) {
        long long i, o;
        place<5>(p, e, i, o);
        to[o] = cast<CAST>(from[i]);
    }
}

// Both contiguous, in groups of 4 words; size counts words.
template <int CAST> __device__ __forceinline__ void dense(const unsigned* from, unsigned* to, int size) {
    const int groups = size / 4;
    for (int e = blockIdx.x * 256 + threadIdx.x; e < groups; e += gridDim.x * 256) {
        const uint4 v = ((const uint4*)from)[e];
        ((uint4*)to)[e] = make_uint4(cast<CAST>(v.x), cast<CAST>(v.y), cast<CAST>(v.z), cast<CAST>(v.w));
    }
    const int e = groups * 4 + threadIdx.x;
    if (blockIdx.x == 0 && e < size) to[e] = cast<CAST>(from[e]);
}

// The plane of the last two axes is turned: from runs along the last but one, to along the last. Blocks of 32 x 8
// threads carry 32 x 32 tiles through shared memory; tiles along x, planes (of the other axes) along y.
template <int CAST> __device__ __forceinline__ void turned(const unsigned* from, unsigned* to, const Copy& p) {
    __shared__ unsigned tile[32][33];
    const int a = 4, b = 5, right = (p.shape[b] + 31) / 32;
    const int a0 = blockIdx.x / right * 32, b0 = blockIdx.x % right * 32;
    long long i0, o0;
    place<3>(p, blockIdx.y, i0, o0);
    from += i0, to += o0;
#pragma unroll
    for (int i = threadIdx.y; i < 32; i += 8)
        if (a0 + threadIdx.x < p.shape[a] && b0 + i < p.shape[b])
            tile[i][threadIdx.x] =
                __ldg(from + (long long)(a0 + threadIdx.x) * p.from[a] + (long long)(b0 + i) * p.from[b]);
    __syncthreads();
#pragma unroll
    for (int i = threadIdx.y; i < 32; i += 8)
        if (a0 + i < p.shape[a] && b0 + threadIdx.x < p.shape[b])
            to[(long long)(a0 + i) * p.to[a] + (long long)(b0 + threadIdx.x) * p.to[b]] =
                cast<CAST>(tile[threadIdx.x][i]);
}

#define COPY(NAME, CAST)                                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) NAME##_strided(const unsigned* from, unsigned* to, Copy p) {          \
        strided<CAST>(from, to, p);                                                                                         \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) NAME##_dense(const unsigned* from, unsigned* to, Copy p) {            \
        dense<CAST>(from, to, p.size);                                                                                      \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) NAME##_turned(const unsigned* __restrict__ from, unsigned* __restrict__ to, Copy p) { \
        turned<CAST>(from, to, p);                                                                                          \
    }

COPY(copy, WORDS)
COPY(to_real, TO_REAL)
COPY(to_int, TO_INT)

// Every element of to becomes word.
extern "C" __global__ void __launch_bounds__(256) fill(unsigned* __restrict__ to, unsigned word, Copy p) {
    for (int e = blockIdx.x * 256 + threadIdx.x; e < p.size; e += gridDim.x * 256) {
        long long i, o;
        place<5>(p, e, i, o);
        to[o] = word;
    }
}
