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
extern "C" __global__ void __launch_bounds__(256) argmax_short(const float* __restrict__ z, int* __restrict__ out, Select p, int width) {
    const int lane = threadIdx.x % width, row = (blockIdx.x * 256 + threadIdx.x) / width;
    Best best = {__int_as_float(0xff800000), 0x7fffffff};
    if (row < p.rows)
        for (int j = lane; j < p.cols; j += width) {
            const Best next = {z[(long long)row * p.z[0] + (long long)j * p.z[1]], j};
            if (before(next, best)) best = next;
        }
    best = across(best, width);
    if (row < p.rows && lane == 0) out[(long long)row * p.out] = best.at;
}

// A block of 256 threads has a row.
extern "C" __global__ void __launch_bounds__(256) argmax_long(const float* __restrict__ z, int* __restrict__ out, Select p) {
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
