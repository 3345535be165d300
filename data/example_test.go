package data_test

import (
	"fmt"
	"log"

	"bilevel/data"
)

// A training and a test part of the embedded digits, standardized by the training rows, with noise in the labels.
func Example() {
	const seed = 1
	digits, err := data.Digits()
	if err != nil {
		log.Fatal(err)
	}
	parts, err := data.Split(digits.Train.N(), seed, 1437, 360)
	if err != nil {
		log.Fatal(err)
	}
	train, err := digits.Train.Rows(parts[0])
	if err != nil {
		log.Fatal(err)
	}
	test, err := digits.Train.Rows(parts[1])
	if err != nil {
		log.Fatal(err)
	}
	scale, err := data.Standardize(train)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range []*data.Set{train, test} {
		if err := scale.Apply(s.Features, s.Features); err != nil {
			log.Fatal(err)
		}
	}
	noisy, _, err := data.Corrupt(train.Labels, 0.5, digits.Classes, seed)
	if err != nil {
		log.Fatal(err)
	}
	wrong := 0
	for i, y := range noisy {
		if y != train.Labels[i] {
			wrong++
		}
	}
	fmt.Println(train.N(), "rows to train,", test.N(), "to test;", wrong, "labels are wrong")
	// Output: 1437 rows to train, 360 to test; 642 labels are wrong
}
