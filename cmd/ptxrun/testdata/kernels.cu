// Kernels of the tests of ptxrun: NVRTC 12.2.140, --gpu-architecture=compute_80 -lineinfo.
__constant__ float scales[2];
__device__ int shift = 3;

// y[i] = a x[i] + y[i]; its guard is right.
extern "C" __global__ void axpy(int n, float a, const float *x, float *y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}

// The same without a guard.
extern "C" __global__ void axpy_unguarded(float a, const float *x, float *y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = a * x[i] + y[i];
}

// Reverses the elements of a block; the barrier between the two lines is missing.
extern "C" __global__ void reverse(const float *in, float *out) {
    __shared__ float tile[64];
    tile[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = tile[63 - threadIdx.x];
}

// out[i] = scales[i & 1] i + shift, for any type the bytes of which fit.
extern "C" __global__ void ramp(float *out) {
    int i = threadIdx.x;
    out[i] = scales[i & 1] * i + shift;
}

extern "C" __global__ void copy(const unsigned char *in, unsigned char *out, unsigned long long n) {
    for (unsigned long long i = threadIdx.x; i < n; i += blockDim.x) out[i] = in ? in[i] : 7;
}

struct Pair { int a, b, c; };
extern "C" __global__ void structure(Pair p, int *out) { *out = p.c; }

extern "C" __global__ void trapped(int *out) {
    *out = 1;
    __trap();
}
