package data

import (
	_ "embed"
	"strings"
)

// The files are described in digits/README.md.
var (
	//go:embed digits/digits-images-idx3-ubyte.gz
	digitsImages string
	//go:embed digits/digits-labels-idx1-ubyte.gz
	digitsLabels string
)

// Digits returns the embedded set: 1,797 handwritten digits of 8×8 values 0 … 16 in 10 classes, the test part of E.
// Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998 (CC BY 4.0),
// which scikit-learn's load_digits gives too, row by row. Each call returns a new copy.
//
// All rows are in Train: there is no test part. Take one by Split, or the last 20 %, which is harder: the rows come
// writer after writer, so that the last ones are other hands than the first.
func Digits() (*Dataset, error) { return Options{}.deliver(readDigits()) }

func readDigits() (*Dataset, error) {
	x, err := readIDX(strings.NewReader(digitsImages), 0)
	if err != nil {
		return nil, err
	}
	y, err := readIDX(strings.NewReader(digitsLabels), 0)
	if err != nil {
		return nil, err
	}
	all, err := pair(x, y, "the embedded images", "the embedded labels")
	if err != nil {
		return nil, err
	}
	d, err := assemble("digits", [parts]*rows{trainPart: all})
	if err != nil {
		return nil, err
	}
	d.Source = "embedded"
	return d, nil
}
