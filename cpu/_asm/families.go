package main

import "github.com/mmcloughlin/avo/build"

// A family is a group of kernels that share one assembly file: NAME stands for ../NAME_amd64.s and its Go declarations
// ../NAME_amd64.go.
type family struct {
	name string
	// write builds the functions of the file. Instructions are methods of the context, so that one process can write
	// all families (avo's package-level functions share a single global context).
	write func(*build.Context)
	// texts, where write is nil, gives the contents of the files by name.
	texts func() map[string][]byte
}

var families = []family{
	{name: "gemm", write: gemm},
	{name: "amx", write: amx},
	{name: "conv_winograd", write: winograd},
	{name: "vec", write: vecFamily},
	{name: "tape", texts: tapeFiles},
	{name: "neon", texts: neonFiles},
}
