// Rows by index. gather: out[i] = in[index[i]]; scatter_add: out[index[i]] += in[i] over integers (exact in any order);
// scatter_max keeps the largest by compare and swap. Rows have m elements; one thread an element.
extern "C" __global__ void gather(const float* __restrict__ in, const long long* __restrict__ index, float* __restrict__ out, int n, int m) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n * m) out[i] = in[index[i / m] * m + i % m];
}

extern "C" __global__ void scatter_add(const int* __restrict__ in, const long long* __restrict__ index, int* __restrict__ out, int n, int m) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n * m) atomicAdd(&out[index[i / m] * m + i % m], in[i]);
}

extern "C" __global__ void scatter_max(const float* __restrict__ in, const long long* __restrict__ index, float* __restrict__ out, int n, int m) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * m) return;
    int* to = (int*)&out[index[i / m] * m + i % m];
    int old = __float_as_int(-__int_as_float(0x7f800000));
    while (__int_as_float(old) < in[i]) {
        const int seen = atomicCAS(to, old, __float_as_int(in[i]));
        if (seen == old) break;
        old = seen;
    }
}
