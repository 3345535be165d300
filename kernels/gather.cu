// Rows by index. A bad index writes nothing; the first one is left in *fault: the index in the low word, its position
// in the high one. *fault is all ones while there is none.
#include "divide.cuh"

struct Gather {
    unsigned rows, cols, count; // of the table; number of indices
    int table[2], out[2];       // strides of row and column
    int index;
    Divisor width; // of a row in threads: one where there are no columns
};

__device__ __forceinline__ void report(unsigned long long* fault, int position, int index) {
    atomicMin(fault, (unsigned long long)(unsigned)position << 32 | (unsigned)index);
}

// What is stored of an element of a table: bits as they are, or a byte as a number.
__device__ __forceinline__ unsigned element(unsigned x) { return x; }
__device__ __forceinline__ uint4 element(uint4 x) { return x; }
__device__ __forceinline__ float element(unsigned char x) { return x; }
__device__ __forceinline__ float4 element(uchar4 x) { return make_float4(x.x, x.y, x.z, x.w); }

// out[j,:] = table[index[j],:]. Threads take neighbouring elements of out, across the ends of rows: out is dense as a
// rule, and rows seldom begin at sectors.
template <typename From, typename To>
__device__ __forceinline__ void rows(
    const From* table, const int* index, To* out, unsigned long long* fault, const Gather& p) {
    const unsigned width = p.width.n;
    unsigned right = gridDim.x * 256, c = blockIdx.x * 256 + threadIdx.x;
    const unsigned down = divide(right, p.width);
    unsigned j = divide(c, p.width);
    while (j < p.count) {
        const int row = __ldg(index + (long long)j * p.index);
        if ((unsigned)row >= p.rows) {
            if (c == 0) report(fault, j, row);
        } else if (c < p.cols) {
            out[(long long)j * p.out[0] + (long long)c * p.out[1]] =
                element(__ldg(table + (long long)row * p.table[0] + (long long)c * p.table[1]));
        }
        j += down, c += right;
        if (c >= width) c -= width, j++;
    }
}

// Words of any type.
extern "C" __global__ void __launch_bounds__(256) gather(const unsigned* __restrict__ table,
    const int* __restrict__ index, unsigned* __restrict__ out, unsigned long long* fault, Gather p) {
    rows(table, index, out, fault, p);
}

// Groups of 4 words, which cols and strides count: rows contiguous and aligned.
extern "C" __global__ void __launch_bounds__(256) gather_4(const uint4* __restrict__ table,
    const int* __restrict__ index, uint4* __restrict__ out, unsigned long long* fault, Gather p) {
    rows(table, index, out, fault, p);
}

// Bytes that become numbers; the table begins at a byte of its buffer.
extern "C" __global__ void __launch_bounds__(256)
    gather_bytes(const unsigned char* __restrict__ table, unsigned long long first, const int* __restrict__ index,
        float* __restrict__ out, unsigned long long* fault, Gather p) {
    rows(table + first, index, out, fault, p);
}

// Groups of 4 of them: rows contiguous and aligned on both sides.
extern "C" __global__ void __launch_bounds__(256)
    gather_bytes_4(const uchar4* __restrict__ table, unsigned long long first, const int* __restrict__ index,
        float4* __restrict__ out, unsigned long long* fault, Gather p) {
    rows(table + first, index, out, fault, p);
}

struct Scatter {
    int rows, cols, count;
    int base[2], source[2], out[2]; // strides of row and column
    int index;
    int band;  // rows of a block
    int apart; // base is not out
};

// out = base; then for j in order out[index[j],:] += source[j,:]. A block owns a band of rows and walks all indices in
// order, 256 at a time: those of its band are gathered in shared memory, in order, and each thread adds those of its
// own rows. Every element belongs to one thread and is one chain of additions.
extern "C" __global__ void __launch_bounds__(256) scatter_add(const float* base, const int* __restrict__ index,
    const float* __restrict__ source, float* out, unsigned long long* fault, Scatter p) {
    __shared__ int places[256], hits[256], counts[8];
    const int tid = threadIdx.y * blockDim.x + threadIdx.x, lane = tid % 32, warp = tid / 32;
    const int first = blockIdx.x * p.band, last = min(first + p.band, p.rows);
    const int column = blockIdx.y * blockDim.x + threadIdx.x;
    const bool inside = column < p.cols;
    if (p.apart && inside)
        for (int r = first + threadIdx.y; r < last; r += blockDim.y)
            out[(long long)r * p.out[0] + (long long)column * p.out[1]] =
                base[(long long)r * p.base[0] + (long long)column * p.base[1]];
    for (int j0 = 0; j0 < p.count; j0 += 256) {
        const int j = j0 + tid;
        int row = -1;
        if (j < p.count) {
            row = index[(long long)j * p.index];
            if ((row < 0 || row >= p.rows) && blockIdx.x == 0 && blockIdx.y == 0) report(fault, j, row);
        }
        const bool hit = row >= first && row < last;
        const unsigned votes = __ballot_sync(0xffffffffu, hit);
        if (lane == 0) counts[warp] = __popc(votes);
        __syncthreads();
        int before = 0, total = 0;
        for (int w = 0; w < 8; w++) {
            if (w < warp) before += counts[w];
            total += counts[w];
        }
        if (hit) {
            const int at = before + __popc(votes & (1u << lane) - 1);
            places[at] = j, hits[at] = row - first;
        }
        __syncthreads();
        if (inside)
            for (int h = 0; h < total; h++)
                if ((hits[h] & blockDim.y - 1) == threadIdx.y) { // a power of two
                    float* to = out + (long long)(first + hits[h]) * p.out[0] + (long long)column * p.out[1];
                    *to += source[(long long)places[h] * p.source[0] + (long long)column * p.source[1]];
                }
        __syncthreads();
    }
}
