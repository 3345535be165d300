package tensor_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"bilevel/device/ref"
	"bilevel/tensor"
)

// Gradient descent on f(x) = ½|x|²: a program is compiled once and run as often as wanted.
func ExampleExecutor() {
	dev := ref.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	x := ex.Variable("x", tensor.Real, 2)
	if err := x.Write([]float64{3, 4}); err != nil {
		log.Fatal(err)
	}
	descent, err := ex.Compile("descent", func() []tensor.Update {
		f := x.Node().Square().Sum().Scale(0.5)
		gradient := tensor.Grad(f, x.Node())[0]
		return []tensor.Update{{Var: x, Value: x.Node().Sub(gradient.Scale(0.5))}}
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := descent.Run(3); err != nil {
		log.Fatal(err)
	}
	fmt.Println(x.Read())
	// Output: [0.375 0.5] <nil>
}

// value is a node's numbers on the reference device.
func value(build func() *tensor.Node) []float64 {
	dev := ref.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	out := ex.Variable("out", tensor.Real, build().Shape()...)
	f, err := ex.Compile("value", func() []tensor.Update { return []tensor.Update{{Var: out, Value: build()}} })
	if err != nil {
		log.Fatal(err)
	}
	if err := f.Run(1); err != nil {
		log.Fatal(err)
	}
	values, err := out.Read()
	if err != nil {
		log.Fatal(err)
	}
	return values
}

// Derivatives are nodes like any others, so that they can be taken again: the third derivative of x⁴ at 2 is 24 x.
func ExampleNode() {
	fmt.Println(value(func() *tensor.Node {
		x := tensor.Full(2, 1)
		y := x.Pow(4).Sum()
		for range 3 {
			y = tensor.Grad(y, x)[0].Sum()
		}
		return y.Reshape(1)
	}))
	// Output: [48]
}

// A product of the Hessian of f(x) = x₀²x₁ with a vector, without the matrix: at (1, 2) it is [2x₁ 2x₀; 2x₀ 0].
func ExampleHVP() {
	fmt.Println(value(func() *tensor.Node {
		x := tensor.Concat(0, tensor.Full(1, 1), tensor.Full(2, 1))
		f := x.Slice(0, 0, 1).Square().Mul(x.Slice(0, 1, 2)).Sum()
		v := tensor.Concat(0, tensor.Full(1, 1), tensor.Full(10, 1))
		return tensor.HVP(f, []*tensor.Node{x}, []*tensor.Node{v})[0]
	}))
	// Output: [24 2]
}

// A convolution of one image of 3×3 pixels with a kernel of 2×2, and the largest of its results.
func ExampleConv2D() {
	fmt.Println(value(func() *tensor.Node {
		image := tensor.Iota(0, 9).ToReal().Reshape(1, 3, 3, 1)
		kernel := tensor.Full(1, 2, 2, 1, 1)
		return tensor.Conv2D(image, kernel, tensor.Padding(0, 1, 0, 1)).Flatten()
	}))
	fmt.Println(value(func() *tensor.Node {
		image := tensor.Iota(0, 9).ToReal().Reshape(1, 3, 3, 1)
		return tensor.MaxPool2D(image, 2, 2, tensor.Stride(1, 1)).Flatten()
	}))
	// Output:
	// [8 12 7 20 24 13 13 15 8]
	// [4 5 7 8]
}

// All updates of a run read the old values: two variables change places.
func ExampleFunction() {
	dev := ref.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	a, b := ex.Variable("a", tensor.Real, 1), ex.Variable("b", tensor.Real, 1)
	if err := errors.Join(a.Write([]float64{1}), b.Write([]float64{2})); err != nil {
		log.Fatal(err)
	}
	swap, err := ex.Compile("swap", func() []tensor.Update {
		return []tensor.Update{{Var: a, Value: b.Node()}, {Var: b, Value: a.Node()}}
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := swap.Run(1); err != nil {
		log.Fatal(err)
	}
	x, _ := a.Number()
	y, _ := b.Number()
	fmt.Println(x, y)
	// Output: 2 1
}

// Variables hold real or whole numbers; labels pick rows of a table.
func ExampleVariable() {
	dev := ref.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	table, rows := ex.Variable("table", tensor.Real, 3, 2), ex.Variable("rows", tensor.Int, 2)
	picked := ex.Variable("picked", tensor.Real, 2, 2)
	err := errors.Join(table.Write([]float64{1, 2, 3, 4, 5, 6}), rows.WriteInts([]int32{2, 0}))
	if err != nil {
		log.Fatal(err)
	}
	f, err := ex.Compile("pick", func() []tensor.Update {
		return []tensor.Update{{Var: picked, Value: tensor.Gather(table.Node(), rows.Node())}}
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(f.Run(1))
	fmt.Println(picked.Read())
	// Output:
	// <nil>
	// [5 6 1 2] <nil>
}

// A scope frees everything that was made in it, and keeps the first error.
func ExampleScope() {
	dev := ref.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	sc := ex.Scope()
	x, y := sc.Variable("x", tensor.Real, 3), sc.Variable("y", tensor.Real, 2)
	sc.Compile("add", func() []tensor.Update { return []tensor.Update{{Var: x, Value: x.Node().Add(y.Node())}} })
	var wrong *tensor.BuildError
	fmt.Println(errors.As(sc.Err(), &wrong), sc.Close())
	// Output: true <nil>
}

// A mistake in building a graph is an error of Compile, which says what does not fit.
func ExampleBuildError() {
	err := tensor.Catch(func() { tensor.Zeros(2, 3).MatMul(tensor.Zeros(2, 3)) })
	var wrong *tensor.BuildError
	fmt.Println(errors.As(err, &wrong))
	// Output: true
}

// What a function needs is known before any memory is taken.
func ExampleMemoryError() {
	dev := ref.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	ex.LimitMemory(1 << 20)
	large := ex.Variable("large", tensor.Real, 1<<20)
	_, err := ex.Compile("zero", func() []tensor.Update {
		return []tensor.Update{{Var: large, Value: tensor.Zeros(1 << 20)}}
	})
	var tooLarge *tensor.MemoryError
	if errors.As(err, &tooLarge) {
		fmt.Println("needs", tooLarge.Need.Variables, "bytes of", tooLarge.Have)
	}
	// Output: needs 8388608 bytes of 1048576
}

// The square root of 2 by Newton's iteration: what does not depend on the variables is computed once, and the loop ends
// by itself.
func ExampleWhile() {
	dev := ref.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	x := ex.Variable("x", tensor.Real)
	active, steps := ex.Variable("active", tensor.Real), ex.Variable("steps", tensor.Int)
	loop, err := ex.CompileLoop("newton", func() []tensor.Update {
		next := x.Node().Add(tensor.Const(2).Div(x.Node())).Scale(0.5)
		on := tensor.Const(1e-12).Lt(next.Sub(x.Node()).Abs())
		going := active.Node()
		return []tensor.Update{
			{Var: x, Value: tensor.Where(going, next, x.Node())},
			{Var: active, Value: going.Mul(on)},
			{Var: steps, Value: steps.Node().Add(going.ToInt())},
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	err = errors.Join(x.Write([]float64{1}), active.Write([]float64{1}), steps.WriteInts([]int32{0}), loop.Setup())
	if err != nil {
		log.Fatal(err)
	}
	n, err := tensor.While{Loop: loop, Active: active, Steps: steps}.Run(context.Background(), 100)
	if err != nil {
		log.Fatal(err)
	}
	root, _ := x.Number()
	fmt.Printf("%.10f after %d steps\n", root, n)
	// Output: 1.4142135624 after 6 steps
}
