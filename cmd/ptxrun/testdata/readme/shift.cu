// Right by luck on many machines: the first warp writes before the second reads.
extern "C" __global__ void shift(float *out) {
    __shared__ float tile[64];
    int t = threadIdx.x;
    tile[t] = t;
    out[t] = t >= 32 ? tile[t - 32] : tile[t];
}
