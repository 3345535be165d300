// Package cpu computes on slices of float32 and int32 with several threads: fused elementwise work, reductions, matrix
// products, row-wise softmax, and the movements of data around them.
//
// # Operations
//
// An operation is made once, bound to its arrays (NewMap, NewReduce, NewGemm, …), and then run any number of times.
// Making it is where everything is decided: axes are merged, expressions compiled, memory taken. Run allocates nothing.
//
//	NewMap         out_i = expression(in…) at every point of a space
//	NewReduce      sums and maxima of such expressions over axes
//	NewGemm        out[b] = φ(A[b]·B[b]) with masks on A, B and a fused expression φ
//	NewConv        convolutions of images, their gradients by images and by weights, with a fused expression φ
//	NewPool2D      averages and maxima of windows of images, their tangents and adjoints
//	NewRowSoftmax  softmax, log-softmax, cross-entropy of rows
//	NewGather      rows by index, or their places alone for products (Rows); NewScatterAdd its transpose
//	NewArgMax      first index of the largest value of each row
//	NewKthLargest  place of the k-th largest element of several arrays
//	NewRandom      Philox integers, uniforms and normals
//	NewCopy        any strides to any strides, casting
//
// # Threads and bits
//
// Operations share a Pool, and whoever runs one holds it (Pool.Lock). The work of an operation is cut into items by its
// shape alone or along axes that no sum crosses, so results are the same bits for any number of threads.
//
// # Levels
//
// The inner loops come in levels (level.go): generic Go, NEON on arm64, and on amd64 AVX2, AVX-512, and AMX, which is
// AVX-512 with large products cut into bfloat16 pieces for the processor's matrix units (gemm_bf16x3.go): they are as
// accurate and up to twice as fast. A table of loops for each (vec.go) holds the elementwise functions, the loops over
// rows and the random numbers; another (gemm_kernels.go) what products need. The assembly is written by the generators
// in _asm.
//
// The generic loops stay: they are the definition that a faster one is tested against. Those of vec.go give the same
// bits at all levels: the same steps in the same order, no fused multiply-add, sums over the same number of lanes.
// Products use fused multiply-adds where there are any, and differ between levels by rounding. Generic loops write
// float32(a*b)+c wherever a product meets a sum, since Go may otherwise fuse the two (arm64, GOAMD64=v3).
package cpu
