// Philox 4x32-10 (Salmon et al. 2011): counter (block index, 0, stream, 0), key = seed. Integers, uniforms in [0, 1) with 24 bits,
// and normals as the centred sum of twelve uniforms (no library function, so that every bit is defined).
__device__ uint4 philox(uint4 c, uint2 k) {
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

__device__ __forceinline__ float uniform(unsigned x) { return (x >> 8) * 5.9604644775390625e-8f; }

extern "C" __global__ void philox_integers(uint4* out, unsigned long long seed, unsigned stream, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = philox(make_uint4(i, 0, stream, 0), make_uint2((unsigned)seed, (unsigned)(seed >> 32)));
}

extern "C" __global__ void philox_uniforms(float4* out, unsigned long long seed, unsigned stream, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const uint4 r = philox(make_uint4(i, 0, stream, 0), make_uint2((unsigned)seed, (unsigned)(seed >> 32)));
    out[i] = make_float4(uniform(r.x), uniform(r.y), uniform(r.z), uniform(r.w));
}

extern "C" __global__ void philox_normals(float* out, unsigned long long seed, unsigned stream, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float sum = -6;
    for (unsigned j = 0; j < 3; j++) {
        const uint4 r = philox(make_uint4(i, j, stream, 1), make_uint2((unsigned)seed, (unsigned)(seed >> 32)));
        sum += uniform(r.x);
        sum += uniform(r.y);
        sum += uniform(r.z);
        sum += uniform(r.w);
    }
    out[i] = sum;
}
