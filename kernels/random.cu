// Philox 4x32-10 (Salmon et al. 2011): element i of a stream is word i mod 4 of the block with counter (i/4, 0, step,
// stream) under the seed as key. One thread has one block. The arithmetic is that of internal/philox, operation by
// operation.
struct Random {
    int n, out; // elements and their stride
    int seed;   // stride of the two words
    int vector; // out takes aligned groups of 4
};

__device__ __forceinline__ uint4 philox(uint4 c, uint2 k) {
#pragma unroll
    for (int r = 0; r < 10; r++) {
        const unsigned h0 = __umulhi(0xD2511F53u, c.x), l0 = 0xD2511F53u * c.x;
        const unsigned h1 = __umulhi(0xCD9E8D57u, c.z), l1 = 0xCD9E8D57u * c.z;
        c = make_uint4(h1 ^ c.y ^ k.x, l1, h0 ^ c.w ^ k.y, l0);
        k.x += 0x9E3779B9u;
        k.y += 0xBB67AE85u;
    }
    return c;
}

// One step of Horner's rule: two roundings, never fused.
__device__ __forceinline__ float step(float p, float x, float c) { return __fadd_rn(__fmul_rn(p, x), c); }

// √2 erfinv(x), x the middle of one of 2^23 cells: see Normal in internal/philox.
__device__ __forceinline__ float normal(unsigned b) {
    const float x = __fmul_rn((float)((int)(b >> 9) * 2 + 1 - (1 << 23)), 1.1920928955078125e-7f);
    const unsigned t = __float_as_uint(__fmul_rn(__fsub_rn(1, x), __fadd_rn(1, x)));
    const int e = (int)(t - 0x3f2aaaabu) >> 23;
    const float f = __fsub_rn(__uint_as_float(t - ((unsigned)e << 23)), 1), s = __fmul_rn(f, f);
    const float odd = step(step(0.140869141f, s, 0.139814854f), s, 0.200120345f);
    const float even = step(step(step(-0.130310059f, s, -0.121483512f), s, -0.166846126f), s, -0.249996200f);
    const float q = step(step(step(odd, f, even), f, 0.333331972f), f, -0.5f);
    float w = -__fadd_rn(__fmul_rn((float)e, 0.693147182f), __fadd_rn(__fmul_rn(q, s), f)), p;
    if (w < 5) {
        w = __fsub_rn(w, 2.5f);
        p = step(2.81022636e-08f, w, 3.43273939e-07f);
        p = step(p, w, -3.5233877e-06f);
        p = step(p, w, -4.39150654e-06f);
        p = step(p, w, 0.00021858087f);
        p = step(p, w, -0.00125372503f);
        p = step(p, w, -0.00417768164f);
        p = step(p, w, 0.246640727f);
        p = step(p, w, 1.50140941f);
    } else {
        w = __fsub_rn(__fsqrt_rn(w), 3);
        p = step(-0.000200214257f, w, 0.000100950558f);
        p = step(p, w, 0.00134934322f);
        p = step(p, w, -0.00367342844f);
        p = step(p, w, 0.00573950773f);
        p = step(p, w, -0.0076224613f);
        p = step(p, w, 0.00943887047f);
        p = step(p, w, 1.00167406f);
        p = step(p, w, 2.83297682f);
    }
    return __fmul_rn(__fmul_rn(p, x), 1.41421356f);
}

enum { BITS, INTEGERS, UNIFORM, NORMAL };

template <int KIND> __device__ __forceinline__ unsigned number(unsigned b, unsigned below) {
    if (KIND == INTEGERS) return __umulhi(b, below);
    if (KIND == UNIFORM) return __float_as_uint(__fmul_rn((float)(b >> 8), 5.9604644775390625e-8f));
    if (KIND == NORMAL) return __float_as_uint(normal(b));
    return b;
}

template <int KIND>
__device__ __forceinline__ void fill(
    const unsigned* seed, const unsigned* at, unsigned* out, const Random& p, unsigned stream, unsigned below) {
    const uint2 key = make_uint2(seed[0], seed[p.seed]);
    const int blocks = p.n / 4 + (p.n % 4 != 0);
    for (int i = blockIdx.x * 256 + threadIdx.x; i < blocks; i += gridDim.x * 256) {
        uint4 v = philox(make_uint4(i, 0, *at, stream), key);
        v = make_uint4(
            number<KIND>(v.x, below), number<KIND>(v.y, below), number<KIND>(v.z, below), number<KIND>(v.w, below));
        if (p.vector && p.n - 4 * i >= 4) {
            *(uint4*)(out + 4ll * i) = v;
            continue;
        }
        const unsigned w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (4 * i + j < p.n) out[(4ll * i + j) * p.out] = w[j];
    }
}

#define RANDOM(NAME, KIND)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                                       \
    NAME(const unsigned* __restrict__ seed, const unsigned* __restrict__ at, unsigned* __restrict__ out, Random p, unsigned stream, unsigned below) { \
        fill<KIND>(seed, at, out, p, stream, below);                                                                        \
    }

RANDOM(random_bits, BITS)
RANDOM(random_integers, INTEGERS)
RANDOM(random_uniforms, UNIFORM)
RANDOM(random_normals, NORMAL)
