// Kernels of the tests of what a launch needs: nvcc 13.0.88, -ptx -arch=compute_80 -lineinfo, without the folders of headers.
#include <cassert>
#include <cooperative_groups.h>
#include <cstdio>

// A structure with pointers, as kernels of CuPy and Warp take them.
struct View {
    float *data;
    int shape[2];
    int stride;
};
struct Args {
    char kind;
    View in;
    double scale;
    float4 bias;
};

extern "C" __global__ void scaled(Args a, View out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out.data[i * out.stride] = (float)a.scale * a.in.data[i * a.in.stride] + a.bias.z + a.kind + a.in.shape[1];
}

extern "C" __global__ void tell(const float *x) {
    printf("thread %d of %u: %f %s %5.2e %lld%%\n", (int)threadIdx.x, blockDim.x, x[threadIdx.x], "text", (double)x[threadIdx.x], -5ll);
}

extern "C" __global__ void positive(const float *x) { assert(x[threadIdx.x] > 0); }

// The barrier of the whole grid stands between writers and readers.
extern "C" __global__ void turned(const float *in, float *part, float *out) {
    auto grid = cooperative_groups::this_grid();
    part[grid.thread_rank()] = in[grid.thread_rank()] * 2;
    grid.sync();
    out[grid.thread_rank()] = part[grid.size() - 1 - grid.thread_rank()];
}

// The same without it.
extern "C" __global__ void turned_early(const float *in, float *part, float *out) {
    auto grid = cooperative_groups::this_grid();
    part[grid.thread_rank()] = in[grid.thread_rank()] * 2;
    out[grid.thread_rank()] = part[grid.size() - 1 - grid.thread_rank()];
}

extern "C" __global__ void accumulate(const float *x, float *sum, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) sum[i] += x[i];
}

extern "C" __global__ void fill(float *x, float value, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] = value;
}

extern "C" __global__ void mean3(const float *in, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i > 0 && i < n - 1) out[i] = (in[i - 1] + in[i] + in[i + 1]) / 3;
}

// A lock that is never given back.
extern "C" __global__ void kept(int *lock, int *count) {
    while (atomicCAS(lock, 0, 1) != 0) {
    }
    *count += 1;
}

// A lock that is.
extern "C" __global__ void given_back(int *lock, int *count) {
    bool done = false;
    while (!done) {
        if (atomicCAS(lock, 0, 1) == 0) {
            __threadfence();
            *count += 1;
            __threadfence();
            atomicExch(lock, 0);
            done = true;
        }
    }
}

// Waits for a flag that the last block of the grid sets.
extern "C" __global__ void flagged(volatile int *flag, int *out) {
    if (blockIdx.x == gridDim.x - 1) *flag = 1;
    while (*flag == 0) {
    }
    out[blockIdx.x] = 1;
}

extern "C" __global__ void endless(int *x) {
    for (unsigned i = 0; x[i & 1] != 12345678; i++) x[0] = i & 0xffff;
}

struct Particle {
    char tag;
    double mass;
    short spin[3];
};

extern "C" __global__ void particles(Particle *p, int n) {
    int i = threadIdx.x;
    if (i < n) p[i].mass *= p[i].tag, p[i].spin[1] += 1;
}

extern "C" __global__ void conjugate(float2 *x, bool *real) {
    int i = threadIdx.x;
    real[i] = x[i].y == 0;
    x[i].y = -x[i].y;
}
