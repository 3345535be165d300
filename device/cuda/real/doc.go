// Package real answers the driver contract by the CUDA driver: through gorgonia.org/cu where it has the call, and
// through the entry points of package shim where it lacks it. Package bridge puts any driver.Driver behind those entry
// points, so that this path is also executed where there is no card.
//
// All but this file is built with the tag cuda; see README.md.
package real
