// Device functions that stay functions: by value, by pointer to a local array, with a structure, one that calls another.
struct Pair {
    float a, b;
};

__device__ __noinline__ float polynomial(const float* c, int n, float x) {
    float r = 0;
    for (int i = n - 1; i >= 0; i--) r = fmaf(r, x, c[i]);
    return r;
}

__device__ __noinline__ Pair swap(Pair p) {
    Pair q = {p.b, p.a};
    return q;
}

__device__ __noinline__ int remainder(int a, int b) { return a % b; }

__device__ __noinline__ int gcd(int a, int b) {
    while (b != 0) {
        const int r = remainder(a, b);
        a = b;
        b = r;
    }
    return a;
}

extern "C" __global__ void calls(const float* __restrict__ x, float* __restrict__ y, int* __restrict__ divisor, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float c[4];
    for (int j = 0; j < 4; j++) c[j] = j + 1;
    Pair p = {polynomial(c, 4, x[i]), x[i]};
    p = swap(p);
    y[2 * i] = p.a;
    y[2 * i + 1] = p.b;
    divisor[i] = gcd(i + 1, 360);
}
