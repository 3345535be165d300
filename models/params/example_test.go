package params_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"bilevel/models/params"
)

// A flat vector whose parts have names.
func ExampleValues() {
	v := params.Values{}.And("decay", -4, -2).AndShaped("weight", []int{2, 2}, []float64{1, 2, 3, 4})
	fmt.Println(v.Layout.Names(), v.Flat)
	w := v.Like([]float64{0, 0, 5, 6, 7, 8})
	fmt.Println(w.Of("weight"))
	// Output:
	// [decay weight] [-4 -2 1 2 3 4]
	// [5 6 7 8]
}

// Layouts say where arrays lie, and put them into groups.
func ExampleLayout() {
	l := params.Layout{}.With("0.weight", 4, 3).With("0.bias", 4).With("2.weight", 2, 4)
	layer := func(a params.Array) string { return a.Name[:1] }
	fmt.Println(l.Size(), l.Groups(layer))
	a, err := l.Find("2.weight")
	fmt.Println(a.Shape, "from", a.Off, err)
	_, err = l.Find("1.weight")
	fmt.Println(err)
	// Output:
	// 24 [0 2]
	// [2 4] from 16 <nil>
	// there is no array "1.weight" (there are 0.weight, 0.bias, 2.weight); did you mean "0.weight"?
}

// An archive that np.load reads.
func ExampleWriteNPZ() {
	dir, err := os.MkdirTemp("", "params")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.npz")
	v := params.Values{}.AndShaped("weight", []int{1, 2}, []float64{0.5, 0.25})
	if err := params.WriteNPZ(path, v); err != nil {
		log.Fatal(err)
	}
	read, err := params.ReadNPZ(path, v.Layout)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(read[0].Of("weight"))
	// Output: [0.5 0.25]
}
