// Mean and variance of n values in f64, one block of 256 threads, two passes; also their smallest and largest.
extern "C" __global__ void __launch_bounds__(256) moments(const double* __restrict__ x, double* __restrict__ out, int n) {
    __shared__ double s[256], lo[256], hi[256];
    const int t = threadIdx.x;
    double sum = 0, a = x[0], b = x[0];
    for (int i = t; i < n; i += 256) {
        sum += x[i];
        a = fmin(a, x[i]);
        b = fmax(b, x[i]);
    }
    s[t] = sum;
    lo[t] = a;
    hi[t] = b;
    for (int o = 128; o > 0; o >>= 1) {
        __syncthreads();
        if (t < o) {
            s[t] += s[t + o];
            lo[t] = fmin(lo[t], lo[t + o]);
            hi[t] = fmax(hi[t], hi[t + o]);
        }
    }
    __syncthreads();
    const double mean = s[0] / n;
    __syncthreads();
    sum = 0;
    for (int i = t; i < n; i += 256) sum += (x[i] - mean) * (x[i] - mean);
    s[t] = sum;
    for (int o = 128; o > 0; o >>= 1) {
        __syncthreads();
        if (t < o) s[t] += s[t + o];
    }
    if (t == 0) {
        out[0] = mean;
        out[1] = sqrt(s[0] / n);
        out[2] = lo[0];
        out[3] = hi[0];
    }
}
