package models_test

import (
	"fmt"

	"bilevel/models"
)

func ExampleMLP() {
	relu, err := models.ActivationByName("relu")
	if err != nil {
		fmt.Println(err)
		return
	}
	net, err := models.NewMLP([]int{64, 32, 10}, relu)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range net.Layout() {
		fmt.Println(p.Name, p.Shape, "from", p.Off)
	}
	fmt.Println(len(net.Init(1)), "parameters")
	// Output:
	// weight0 [64 32] from 0
	// bias0 [32] from 2048
	// weight1 [32 10] from 2080
	// bias1 [10] from 2400
	// 2410 parameters
}
