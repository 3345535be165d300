package data_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"bilevel/data"
)

// A table of one's own: the classes that occur are numbered in sorted order.
func ExampleOpenWith() {
	dir, err := os.MkdirTemp("", "data")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "flowers.csv")
	table := "length,width,kind\n5.1,3.5,setosa\n6.2,2.9,versicolor\n4.9,3.0,setosa\n"
	if err := os.WriteFile(path, []byte(table), 0o600); err != nil {
		log.Fatal(err)
	}
	set, err := data.OpenWith(path, nil, data.Options{Label: "kind"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(set.Train.N(), "rows of", set.Train.Dim, "in", set.ClassNames, set.Train.Labels)
	// Output: 3 rows of 2 in [setosa versicolor] [0 1 0]
}

// A set that is known by name but not here says where it was looked for.
func ExampleNotFoundError() {
	_, err := data.Open("mnist", func(name string) string {
		return map[string]string{data.EnvFolder: "nowhere", "XDG_CACHE_HOME": "nowhere"}[name]
	})
	var missing *data.NotFoundError
	fmt.Println(errors.As(err, &missing), missing.Name)
	_, err = data.Open("mnits", nil)
	var usage *data.UsageError
	fmt.Println(errors.As(err, &usage))
	// Output:
	// true mnist
	// true
}

// Rows of a set, and what is measured on training rows is applied to others.
func ExampleScaler() {
	train := &data.Set{Features: []float32{0, 10, 2, 10, 4, 10}, Labels: []int32{0, 1, 1}, Dim: 2}
	s, err := data.Standardize(train)
	if err != nil {
		log.Fatal(err)
	}
	test := []float32{2, 11}
	if err := s.Apply(test, test); err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Mean, test)
	// Output: [2 10] [0 1]
}

// What comes before a model sees the data: split, corrupted on request, standardized.
func ExamplePrepare() {
	digits, err := data.Digits()
	if err != nil {
		log.Fatal(err)
	}
	p, err := data.Prepare(digits, data.Preparation{Train: 1000, Val: 300, Corrupt: 0.2}, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.Train.N(), p.Val.N(), p.Test.N(), "rows,", len(p.Kept()), "training labels are as they were")
	// Output: 1000 300 497 rows, 845 training labels are as they were
}

// A set with labels out of range is refused by its row.
func ExampleSet() {
	s := &data.Set{Features: []float32{1, 2, 3, 4}, Labels: []int32{0, 7}, Dim: 2}
	fmt.Println(s.Check(2))
	rows, err := s.Rows([]int32{1})
	fmt.Println(rows.Features, err)
	// Output:
	// data: the label of row 1 (counted from 0) is 7; it must be in 0 … 1
	// [3 4] <nil>
}
