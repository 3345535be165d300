// Constructs of PTX that ordinary kernels lack: initialisers with addresses, structures by value, indirect calls, nested scopes of
// inline assembly, switches. Compiled with nvcc 13.0.88 (-ptx -arch=compute_80 -lineinfo) and NVRTC 12.2.140 (compute_75).
#include <cuda_fp16.h>
struct P { float a; int b[3]; double c; };
__constant__ float table[2][3]={{1.5f,-2.f,3.f},{4,5,6}};
__constant__ double dtab[3]={1.0,-0.25,1e300};
__device__ int counter = -7;
__device__ int zeroed[10];
__device__ int *pcounter = &counter;
__device__ int *pcounter2[2] = {&zeroed[3], 0};
__device__ short sh[4] = {-1,2,-3,4};
__device__ unsigned long long big = 0xfedcba9876543210ull;
__device__ const char msg[] = "hi";
struct __align__(16) R { float *p; int n; char c; };
__device__ R rec = { 0, 5, 'x' };
struct Q { int *q; int k; };
__device__ Q q = { &counter, 9 };
__managed__ int man = 3;
__device__ __noinline__ float helper(float x, P p) { return x * p.a + p.b[1] + (float)p.c; }
__device__ __noinline__ P make(int i) { P p; p.a=i; p.b[0]=p.b[1]=p.b[2]=i; p.c=2; return p; }
__device__ __noinline__ void side(int *x) { atomicAdd(x, 1); }
typedef float (*fn)(float);
__device__ __noinline__ float f1(float x){return x+1;}
__device__ __noinline__ float f2(float x){return x*2;}
__device__ fn fns[2]={f1,f2};
template<int N> __device__ __forceinline__ float tinl(float x){ return __shfl_xor_sync(0xffffffffu,x,N); }
extern "C" __global__ void __launch_bounds__(128, 2) kern(P p, float *o, int n, __half *h, const float4* __restrict__ v) {
  extern __shared__ float dyn[];
  __shared__ double s[16];
  int i = blockIdx.x*blockDim.x+threadIdx.x;
  s[threadIdx.x&15]=i; dyn[threadIdx.x]=n;
  __syncthreads();
  P z = make(n);
  float x = helper(i, n>3?p:z) + table[i&1][n%3] + (float)dtab[n%3];
  side(pcounter); side(q.q); side(pcounter2[n&1]);
  x += fns[n&1](x);
  x = tinl<3>(x);
  float4 w = v[i];
  float local[8]; for (int k=0;k<8;k++) local[k]=w.x*k; 
  x += local[n&7] + msg[n&1] + rec.n + sh[n&3] + man + (big>>n);
  o[i] = x + s[15-(threadIdx.x&15)] + dyn[127-threadIdx.x] + sinf(x) + __half2float(h[i]);
  asm volatile("{\n .reg .pred p; .reg .b32 t;\n setp.ne.b32 p, %1, 0;\n @p mov.b32 t, 7; @!p mov.b32 t, 8;\n { .reg .b32 t; mov.b32 t, 1; st.global.b32 [%0], t; }\n st.global.b32 [%0+4], t;\n}" :: "l"(o), "r"(n) : "memory");
  switch (n) { case 0: o[1]=3; break; case 1: o[2]=4; break; case 2: o[5]=5; break; case 3: o[6]=1; break; case 4: o[0]=7; break; case 5: o[9]=1; break; default: o[8]=1; }
}
