// Convolution of images (n x c x h x w) as a product with the unfolded image, formed on the fly; the geometry lies in constant memory.
// One thread an output element; sums run over channel, row, column of the filter, in that order.
struct Geometry {
    int c, h, w;    // input
    int k, r, s;    // filters
    int oh, ow;     // output
    int stride, pad;
};

extern "C" __constant__ Geometry geometry = {};

extern "C" __global__ void conv(const float* __restrict__ in, const float* __restrict__ filter, float* __restrict__ out, int n) {
    const Geometry& g = geometry;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n * g.k * g.oh * g.ow) return;
    const int ox = i % g.ow, oy = i / g.ow % g.oh, k = i / (g.ow * g.oh) % g.k, image = i / (g.ow * g.oh * g.k);
    float sum = 0;
    for (int c = 0; c < g.c; c++)
        for (int r = 0; r < g.r; r++) {
            const int y = oy * g.stride - g.pad + r;
            for (int s = 0; s < g.s; s++) {
                const int x = ox * g.stride - g.pad + s;
                if (y >= 0 && y < g.h && x >= 0 && x < g.w)
                    sum = fmaf(in[((image * g.c + c) * g.h + y) * g.w + x], filter[((k * g.c + c) * g.r + r) * g.s + s], sum);
            }
        }
    out[i] = sum;
}
