// Integer work: 64-bit division and remainder, bit counting and reversal, funnel shifts, byte permutation, narrow loads and stores.
extern "C" __global__ void integers(const long long* __restrict__ a, const long long* __restrict__ b, long long* __restrict__ quotient,
                                    long long* __restrict__ remainder, unsigned* __restrict__ bits, short* __restrict__ narrow, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const long long x = a[i], y = b[i];
    quotient[i] = x / y;
    remainder[i] = (long long)((unsigned long long)x % (unsigned long long)y);
    const unsigned u = (unsigned)x, v = (unsigned)y;
    bits[i * 6] = __popc(u) + 64 * __clz(u);
    bits[i * 6 + 1] = __brev(u);
    bits[i * 6 + 2] = __funnelshift_l(u, v, v & 31);
    bits[i * 6 + 3] = __byte_perm(u, v, 0x4150);
    bits[i * 6 + 4] = __popcll(x) + 128 * __ffsll(y);
    bits[i * 6 + 5] = (unsigned)__mulhi((int)u, (int)v);
    narrow[i] = (short)((signed char)x + (unsigned char)y);
}
