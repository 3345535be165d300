// Softmax of rows: with M = max z and S = Σ exp(z - M),
//   softmax        out[i,j] = exp(z - M) / S
//   log-softmax    out[i,j] = (z - M) - log S
//   cross-entropy  out[i]   = log S - (z[label] - M), NaN for a label outside the row
// M lets no exponent be above 0. A row whose maximum is not finite is NaN throughout. Sums are in a fixed order: each
// thread adds its columns in ascending order, then a tree. Threads write only what they alone have read, so out may be
// z. Each kernel is a module of its own, as those of copy.cu: ENTRY names it.
#define FULL 0xffffffffu

struct Rows {
    int rows, cols;
    int z[2], out[2]; // strides of row and column
    int labels;
};

enum { SOFTMAX, LOG_SOFTMAX, CROSS_ENTROPY };

__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); } // NaN shows in the sum
__device__ __forceinline__ float sum(float a, float b) { return a + b; }

// across combines the values of groups of width neighbouring lanes, a power of 2; all lanes of the warp take part.
template <float (*OP)(float, float)> __device__ __forceinline__ float across(float x, int width) {
    for (int o = width / 2; o > 0; o /= 2) x = OP(x, __shfl_xor_sync(FULL, x, o));
    return x;
}

template <int KIND> __device__ __forceinline__ float result(float z, float top, float total) {
    return KIND == SOFTMAX ? __fdiv_rn(expf(z - top), total) : (z - top) - logf(total);
}

template <int KIND>
__device__ __forceinline__ void loss(
    const float* line, int step, const int* labels, float* out, int row, const Rows& p, float top, float total) {
    const int label = labels[(long long)row * p.labels];
    const bool good = label >= 0 && label < p.cols;
    out[(long long)row * p.out[0]] =
        good ? logf(total) - (line[(long long)label * step] - top) : __int_as_float(0x7fffffff);
}

// Short rows: groups of width lanes (a power of 2, at most 32) have a row each and keep it in registers, at most 8
// columns a lane.
template <int KIND>
__device__ __forceinline__ void short_rows(const float* z, const int* labels, float* out, const Rows& p, int width) {
    const int COLUMNS = 8, lane = threadIdx.x & width - 1, row = (blockIdx.x * blockDim.x + threadIdx.x) >> __popc(width - 1);
    const bool inside = row < p.rows;
    const float* line = z + (long long)row * p.z[0];
    float x[COLUMNS], top = __int_as_float(0xff800000), total = 0;
#pragma unroll
    for (int i = 0; i < COLUMNS; i++) {
        const int j = lane + i * width;
        x[i] = inside && j < p.cols ? line[(long long)j * p.z[1]] : __int_as_float(0xff800000);
        top = larger(top, x[i]);
    }
    top = across<larger>(top, width);
#pragma unroll
    for (int i = 0; i < COLUMNS; i++)
        if (lane + i * width < p.cols) total += expf(x[i] - top);
    total = across<sum>(total, width);
    if (!inside) return;
    if (KIND == CROSS_ENTROPY) {
        if (lane == 0) loss<KIND>(line, p.z[1], labels, out, row, p, top, total);
        return;
    }
#pragma unroll
    for (int i = 0; i < COLUMNS; i++) {
        const int j = lane + i * width;
        if (j < p.cols) out[(long long)row * p.out[0] + (long long)j * p.out[1]] = result<KIND>(x[i], top, total);
    }
}

// of_block combines the values of all 8 warps of a block.
template <float (*OP)(float, float)> __device__ __forceinline__ float of_block(float x, float* room) {
    x = across<OP>(x, 32);
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
    __syncthreads();
    x = across<OP>(room[threadIdx.x % 8], 8);
    __syncthreads();
    return x;
}

// Long rows: one block of 256 threads has a row; three passes, the later ones from cache.
template <int KIND>
__device__ __forceinline__ void long_rows(const float* z, const int* labels, float* out, const Rows& p) {
    __shared__ float room[8];
    for (int row = blockIdx.x; row < p.rows; row += gridDim.x) {
        const float* line = z + (long long)row * p.z[0];
        float top = __int_as_float(0xff800000), total = 0;
        for (int j = threadIdx.x; j < p.cols; j += 256) top = larger(top, line[(long long)j * p.z[1]]);
        top = of_block<larger>(top, room);
        for (int j = threadIdx.x; j < p.cols; j += 256) total += expf(line[(long long)j * p.z[1]] - top);
        total = of_block<sum>(total, room);
        if (KIND == CROSS_ENTROPY) {
            if (threadIdx.x == 0) loss<KIND>(line, p.z[1], labels, out, row, p, top, total);
            continue;
        }
        for (int j = threadIdx.x; j < p.cols; j += 256)
            out[(long long)row * p.out[0] + (long long)j * p.out[1]] =
                result<KIND>(line[(long long)j * p.z[1]], top, total);
    }
}

#define SHORT (const float* z, const int* labels, float* out, Rows p, int width)
#define LONG (const float* z, const int* labels, float* out, Rows p)
#define KERNEL_softmax_short SHORT { short_rows<SOFTMAX>(z, labels, out, p, width); }
#define KERNEL_softmax_long LONG { long_rows<SOFTMAX>(z, labels, out, p); }
#define KERNEL_log_softmax_short SHORT { short_rows<LOG_SOFTMAX>(z, labels, out, p, width); }
#define KERNEL_log_softmax_long LONG { long_rows<LOG_SOFTMAX>(z, labels, out, p); }
#define KERNEL_cross_entropy_short SHORT { short_rows<CROSS_ENTROPY>(z, labels, out, p, width); }
#define KERNEL_cross_entropy_long LONG { long_rows<CROSS_ENTROPY>(z, labels, out, p); }

#define KERNEL(NAME) KERNEL_(NAME)
#define KERNEL_(NAME) KERNEL_##NAME
extern "C" __global__ void __launch_bounds__(256) ENTRY KERNEL(ENTRY)
