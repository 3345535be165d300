// The mean of a window of three, in place: a race, because neighbours read what a thread writes.
struct Row {
    float *data;
    int n;
};
extern "C" __global__ void mean3(Row in, Row out) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i > 0 && i < in.n - 1) out.data[i] = (in.data[i - 1] + in.data[i] + in.data[i + 1]) / 3;
}
