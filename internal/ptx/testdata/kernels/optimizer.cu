// Steps over flat parameter vectors. pgd: x = clamp(x - step g, lo, hi), a NaN gradient leaves x. adamw: Loshchilov & Hutter 2019.
extern "C" __global__ void pgd(float* __restrict__ x, const float* __restrict__ g, float step, float lo, float hi, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float d = g[i];
    const float y = __fsub_rn(x[i], __fmul_rn(step, d));
    if (d == d) x[i] = fminf(fmaxf(y, lo), hi);
}

extern "C" __global__ void adamw(float* __restrict__ x, const float* __restrict__ g, float* __restrict__ m, float* __restrict__ v,
                                 float rate, float beta1, float beta2, float eps, float decay, float scale1, float scale2, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float d = g[i];
    const float mi = beta1 * m[i] + (1 - beta1) * d;
    const float vi = beta2 * v[i] + (1 - beta2) * d * d;
    m[i] = mi;
    v[i] = vi;
    x[i] -= rate * (mi * scale1 / (sqrtf(vi * scale2) + eps) + decay * x[i]);
}
