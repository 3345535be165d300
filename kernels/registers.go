package kernels

import (
	_ "embed"
	"encoding/csv"
	"strconv"
	"strings"
	"sync"
)

// The table is written by scripts/machine-code --write.
//
//go:embed machine-code.csv
var machineCode string

// Registers is how many registers NVIDIA's assembler gives a thread of a kernel on cards of a compute capability (80
// for 8.0), 0 if that is not known. A kernel with an epilogue, whose name ends in a hash, counts as the one without.
func Registers(kernel string, capability int) int {
	arch := "sm_80"
	for _, a := range []string{"sm_90", "sm_120"} {
		if n, _ := strconv.Atoi(a[3:]); capability >= n {
			arch = a
		}
	}
	if n, ok := registers()[key{kernel, arch}]; ok {
		return n
	}
	if i := strings.LastIndexByte(kernel, '_'); i >= 0 {
		return registers()[key{kernel[:i], arch}]
	}
	return 0
}

type key struct{ kernel, arch string }

var registers = sync.OnceValue(func() map[key]int {
	rows, err := csv.NewReader(strings.NewReader(machineCode)).ReadAll()
	if err != nil {
		panic("kernels: machine-code.csv: " + err.Error())
	}
	table := map[key]int{}
	for _, r := range rows[1:] {
		n, err := strconv.Atoi(r[2])
		if err != nil {
			panic("kernels: machine-code.csv: " + err.Error())
		}
		table[key{r[0], r[1]}] = n
	}
	return table
})
