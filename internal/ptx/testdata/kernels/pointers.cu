// Functions behind pointers and functions that call themselves; each thread computes one element, op chooses what.
struct Shape {
    __device__ virtual float area(float side) const = 0;
};
struct Square : Shape {
    __device__ float area(float side) const override { return side * side; }
};
struct Triangle : Shape {
    float height;
    __device__ float area(float side) const override { return side * height / 2; }
};

typedef int (*operation)(int, int);
__device__ __noinline__ int plus(int a, int b) { return a + b; }
__device__ __noinline__ int times(int a, int b) { return a * b; }
__device__ __noinline__ int minus(int a, int b) { return a - b; }
__device__ operation table[3] = {plus, times, minus};

extern "C" __global__ void through_table(const int *in, int *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = table[i % 3](in[i], i);
}

extern "C" __global__ void through_object(const float *in, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    Square square;
    Triangle triangle;
    triangle.height = in[i] + 1;
    const Shape *shape = i % 2 ? (const Shape *)&square : (const Shape *)&triangle;
    out[i] = shape->area(in[i]);
}

__device__ __noinline__ int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

// The address of a caller's variable goes down, so every call needs variables of its own.
__device__ __noinline__ int descend(const int *above, int n) {
    int own[3] = {n, 2 * n, *above + n};
    if (n == 0) return *above;
    return descend(&own[2], n - 1) + own[0] * 2 - own[1];
}

__device__ __noinline__ int odd(int n);
__device__ __noinline__ int even(int n) { return n == 0 ? 1 : odd(n - 1); }
__device__ __noinline__ int odd(int n) { return n == 0 ? 0 : even(n - 1); }

extern "C" __global__ void recursive(const int *in, int *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int zero = 0;
    out[3 * i] = fibonacci(in[i] % 12);
    out[3 * i + 1] = descend(&zero, in[i]);
    out[3 * i + 2] = even(in[i]);
}
