// Package bench measures: the hot loops of bi-level optimization beside the fastest peer we know (hotloops.go, networks.go,
// cleaning.go; peers/ holds the peer's side), every kernel beside the machine's own peaks (kernels.go), and how time grows
// with the work (scaling.go). README.md says how to compare and what the last comparison gave.
package bench
