// Steps until |z| > 2 of z = z² + c over a grid of points, at most limit: neighbouring threads leave their loops at different times.
extern "C" __global__ void mandelbrot(int* __restrict__ steps, float x0, float y0, float dx, int w, int h, int limit) {
    const int px = blockIdx.x * blockDim.x + threadIdx.x, py = blockIdx.y * blockDim.y + threadIdx.y;
    if (px >= w || py >= h) return;
    const float cx = fmaf(px, dx, x0), cy = fmaf(py, dx, y0);
    float x = 0, y = 0;
    int k = 0;
    while (k < limit) {
        const float xx = __fmul_rn(x, x), yy = __fmul_rn(y, y);
        if (__fadd_rn(xx, yy) > 4) break;
        y = __fadd_rn(__fmul_rn(2, __fmul_rn(x, y)), cy);
        x = __fadd_rn(__fsub_rn(xx, yy), cx);
        k++;
    }
    steps[py * w + px] = k;
}
