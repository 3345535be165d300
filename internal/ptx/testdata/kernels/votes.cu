// Warp votes: each warp packs its elements that exceed a bound to the front of its part of out, by ballot and popcount, and notes how
// many; any and all of the warp; lanes with equal keys by match; sums by redux.
extern "C" __global__ void votes(const int* __restrict__ in, int* __restrict__ out, int* __restrict__ kept, int* __restrict__ flags,
                                 unsigned* __restrict__ same, int bound, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32, first = i - lane;
    const int x = i < n ? in[i] : bound;
    const bool keep = x > bound;
    const unsigned mask = __ballot_sync(0xffffffffu, keep);
    if (keep) out[first + __popc(mask & ((1u << lane) - 1))] = x;
    const int any = __any_sync(0xffffffffu, x == 7), all = __all_sync(0xffffffffu, x >= bound);
    const unsigned equal = __match_any_sync(0xffffffffu, x & 3);
    const int sum = __reduce_add_sync(0xffffffffu, x), top = __reduce_max_sync(0xffffffffu, x);
    if (i < n) same[i] = equal;
    if (lane == 0) {
        kept[i / 32] = __popc(mask);
        flags[i / 32 * 4] = any;
        flags[i / 32 * 4 + 1] = all;
        flags[i / 32 * 4 + 2] = sum;
        flags[i / 32 * 4 + 3] = top;
    }
}
