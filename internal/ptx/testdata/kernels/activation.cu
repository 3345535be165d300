// y = max(x + bias, 0) and the tanh form of GELU, rows of m columns; the backward pass of the first, with the bias gradient summed
// over the rows by one thread a column.
extern "C" __global__ void bias_relu(const float* __restrict__ x, const float* __restrict__ bias, float* __restrict__ y, int n, int m) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n * m; i += gridDim.x * blockDim.x)
        y[i] = fmaxf(x[i] + bias[i % m], 0.0f);
}

extern "C" __global__ void bias_gelu(const float* __restrict__ x, const float* __restrict__ bias, float* __restrict__ y, int n, int m) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n * m; i += gridDim.x * blockDim.x) {
        const float v = x[i] + bias[i % m];
        y[i] = 0.5f * v * (1.0f + tanhf(0.7978845608f * (v + 0.044715f * v * v * v)));
    }
}

extern "C" __global__ void bias_relu_backward(const float* __restrict__ y, const float* __restrict__ dy, float* __restrict__ dx,
                                              float* __restrict__ dbias, int n, int m) {
    const int col = blockIdx.x * blockDim.x + threadIdx.x;
    if (col >= m) return;
    float sum = 0;
    for (int row = 0; row < n; row++) {
        const size_t i = (size_t)row * m + col;
        const float d = y[i] > 0 ? dy[i] : 0.0f;
        dx[i] = d;
        sum += d;
    }
    dbias[col] = sum;
}
