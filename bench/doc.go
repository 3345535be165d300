// Package bench measures the hot loops of bi-level optimization (hotloops.go, networks.go, cleaning.go) for a
// comparison with JAX, the peer, whose programs are in peers/; every kernel, in relation to the peaks of the machine
// (kernels.go); and how time grows with the work (scaling.go). README.md says how to compare and what the last
// comparison gave.
package bench
