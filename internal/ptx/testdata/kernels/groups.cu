// Cooperative groups: sums of tiles of 8 threads, of the active threads of a warp with an odd value, and of the block.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
namespace cg = cooperative_groups;

extern "C" __global__ void __launch_bounds__(128) groups(const int* __restrict__ in, int* __restrict__ tiles, int* __restrict__ odd,
                                                       int* __restrict__ total, int n) {
    __shared__ int sum;
    cg::thread_block block = cg::this_thread_block();
    const int i = block.group_index().x * 128 + block.thread_rank();
    const int x = i < n ? in[i] : 0;
    if (block.thread_rank() == 0) sum = 0;
    block.sync();
    auto tile = cg::tiled_partition<8>(block);
    const int t = cg::reduce(tile, x, cg::plus<int>());
    if (tile.thread_rank() == 0 && i < n) tiles[i / 8] = t;
    if (x & 1) {
        cg::coalesced_group active = cg::coalesced_threads();
        if (active.thread_rank() == 0) odd[i / 32] = active.size();
    }
    auto warp = cg::tiled_partition<32>(block);
    const int w = cg::reduce(warp, x, cg::plus<int>());
    if (warp.thread_rank() == 0) atomicAdd(&sum, w);
    block.sync();
    if (block.thread_rank() == 0) total[block.group_index().x] = sum;
}
