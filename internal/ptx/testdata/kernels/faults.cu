// Kernels that are wrong, each in one way. The line that a report must name carries the kind in a comment.

extern "C" __global__ void lucky_race(int* out) { // the result is right as long as warps run one after the other
    __shared__ int s[64];
    const int t = threadIdx.x;
    s[t] = t;
    out[t] = t >= 32 ? s[t - 32] : s[t];  // report: shared-race
}

extern "C" __global__ void block_race(int* out) {
    if (threadIdx.x == 0) out[0] = blockIdx.x;  // report: global-race
}

extern "C" __global__ void neighbour_race(int* x) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    x[i + 1] = x[i] + 1;  // report: global-race
}

extern "C" __global__ void uninitialised_shared(int* out) {
    __shared__ int s[32];
    if (threadIdx.x < 16) s[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x];  // report: uninitialized-read
}

extern "C" __global__ void uninitialised_global(const int* in, int* out) {
    out[threadIdx.x] = in[threadIdx.x];  // report: uninitialized-read
}

extern "C" __global__ void uninitialised_local(int* out, int n, int k) {
    int a[8];
    for (int j = 0; j < n; j++) a[j] = j;
    out[threadIdx.x] = a[k];  // report: uninitialized-read
}

extern "C" __global__ void past_the_end(int* out) {
    out[threadIdx.x + 1] = 1;  // report: out-of-bounds
}

extern "C" __global__ void past_shared(int* out, int n) {
    __shared__ int s[32];
    s[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = s[threadIdx.x + n];  // report: out-of-bounds
}

extern "C" __global__ void crooked(float* out) {
    *(float2*)(out + 2 * threadIdx.x + 1) = make_float2(1, 2);  // report: misaligned
}

extern "C" __global__ void freed(int* out) {
    out[threadIdx.x] = 1;  // report: use-after-free
}

extern "C" __global__ void parted_barrier(int* out) {
    __shared__ int s[32];
    s[threadIdx.x] = 1;
    if (threadIdx.x < 16) __syncthreads();  // report: divergent-barrier
    out[threadIdx.x] = s[threadIdx.x];
}

extern "C" __global__ void two_masks(int* out) {
    const unsigned mask = threadIdx.x < 16 ? 0xffffffffu : 0xffff0000u;
    out[threadIdx.x] = __shfl_xor_sync(mask, (int)threadIdx.x, 1);  // report: mismatched-mask
}

extern "C" __global__ void unnamed_lane(int* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, (int)threadIdx.x, 20);  // report: inactive-lane-shuffle
}

extern "C" __global__ void early_read(const int* in, int* out) {
    __shared__ int s[32];
    const unsigned to = (unsigned)__cvta_generic_to_shared(&s[threadIdx.x]);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;\n" ::"r"(to), "l"(in + threadIdx.x) : "memory");
    asm volatile("cp.async.commit_group;\n" ::: "memory");
    out[threadIdx.x] = s[threadIdx.x];  // report: missing-async-wait
}

extern "C" __global__ void unordered_sum(const float* in, float* sum) {
    atomicAdd(sum, in[blockIdx.x * blockDim.x + threadIdx.x]);  // report: order-dependent-atomic
}

extern "C" __global__ void endless(volatile int* flag) {
    while (*flag == 0) {  // report: timeout
    }
}
