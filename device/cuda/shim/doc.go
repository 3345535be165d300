// Package shim stands where the library of the NVIDIA driver would be linked, so that one program runs with a driver,
// without one, and on a simulated one.
//
// It defines every entry point of the driver that the program refers to (entries.h), each a jump through a table.
// Nothing happens at start: until a table is selected every entry answers CUDA_ERROR_NO_DEVICE, and cuInit success, so
// that the initialisation of gorgonia.org/cu, which ends the process where cuInit fails, passes. An empty archive,
// lib/libcuda.a, satisfies that package's -lcuda: linking needs no toolkit, compiling only cuda.h of CUDA 12.
//
// All but this file is built with the tag cuda, on Linux.
package shim
