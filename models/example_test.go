package models_test

import (
	"fmt"

	"bilevel/models"
)

func ExampleMLP() {
	net := models.MLP{Widths: []int{64, 32, 10}, BatchNorm: true}
	for _, a := range net.Params() {
		fmt.Println(a.Name, a.Shape, "from", a.Off)
	}
	fmt.Println("state:", net.State().Names())
	p, state := net.Init(1)
	fmt.Println(p.Size(), "parameters,", state.Size(), "numbers of state")
	// Output:
	// 0.weight [32 64] from 0
	// 1.weight [32] from 2048
	// 1.bias [32] from 2080
	// 3.weight [10 32] from 2112
	// 3.bias [10] from 2432
	// state: [1.running_mean 1.running_var 1.num_batches_tracked]
	// 2442 parameters, 65 numbers of state
}
