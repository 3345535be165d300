// Package devicetest is the conformance suite of devices, as values: a device is right if every case of Cases passes.
// A device's own test file is one loop over them, and the doctor command runs the same cases on the user's machine:
//
//	for _, c := range devicetest.Cases() {
//		t.Run(c.Name, func(t *testing.T) { require.NoError(t, c.Run(d)) })
//	}
//
// Most cases are one instruction on random data (trial.go) under one memory layout (layout.go). It runs on the device
// and on device/ref, and three things must hold: every output element differs by no more than the bound that
// tolerance.go derives from the data; every other element of every buffer, between, before and after the outputs, keeps
// its bits; a second run of the prepared program gives the same bits again.
//
// What a device says it lacks (device.Info.Lacks) it must refuse, by device.ErrOperation.
//
// To add a case, add a row to a family's list: gemm.go, map.go, fn.go, reduce.go, softmax.go, conv.go, pool.go,
// rows.go, order.go, random.go, copy.go for operations, memory.go and program.go for the rest of the Device interface.
package devicetest

import (
	"slices"

	"bilevel/device"
)

// Case is one check. Run may be called with any open device, also by several goroutines at once; it frees what it
// allocates. Its error says what differs, where and by how much.
type Case struct {
	Name string
	Run  func(device.Device) error
}

// Cases lists the suite, smallest parts first: memory, programs, then operation by operation.
func Cases() []Case {
	return slices.Concat(
		memoryCases(),
		programCases(),
		copyCases(),
		fnCases(),
		mapCases(),
		reduceCases(),
		gemmCases(),
		softmaxCases(),
		convCases(),
		poolCases(),
		gatherCases(),
		scatterCases(),
		selectCases(),
		randomCases(),
	)
}

// single is a case that builds one instruction and compares it with the reference.
func single(name string, build func(*trial)) Case {
	return Case{Name: name, Run: func(d device.Device) error {
		t := newTrial(name)
		build(t)
		return t.check(d)
	}}
}
