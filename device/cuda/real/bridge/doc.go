// Package bridge puts any driver.Driver behind the entry points of the CUDA driver, so that a program's way to a card
// (package real, gorgonia.org/cu, cgo) is executed to its end on a machine without one.
//
// The entry points keep what cuda.h asks: a call without a current context answers CUDA_ERROR_INVALID_CONTEXT, an
// object of another context or one that was destroyed CUDA_ERROR_INVALID_HANDLE.
//
// All but this file is built with the tag cuda.
package bridge
