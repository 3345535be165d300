// Package dense carries arrays between variables and gorgonia.org/tensor, a widespread library of host arrays. Whoever
// does not import it does not depend on that library.
package dense

import (
	"fmt"

	"gorgonia.org/tensor"

	bilevel "bilevel/tensor"
)

// Array is a host array of float32, float64, int32 or byte elements, row by row.
type Array = tensor.Dense

// Write copies a host array of the same number of elements to a variable. Its shape may be another.
func Write(v *bilevel.Variable, a *Array) error {
	if !a.DataOrder().IsRowMajor() || a.RequiresIterator() {
		return fmt.Errorf("dense: write %s: the array is not laid out row by row", v.Name())
	}
	switch data := a.Data().(type) {
	case []float32:
		return v.Write32(data)
	case []float64:
		return v.Write(data)
	case []int32:
		return v.WriteInts(data)
	case []byte:
		return v.WriteBytes(data)
	case float32: // gorgonia gives scalars bare
		return v.Write32([]float32{data})
	case float64:
		return v.Write([]float64{data})
	case int32:
		return v.WriteInts([]int32{data})
	case byte:
		return v.WriteBytes([]byte{data})
	default:
		return fmt.Errorf(
			"dense: write %s: element type %v, wants float32, float64, int32 or byte", v.Name(), a.Dtype(),
		)
	}
}

// Read copies a variable to a host array: of int32, of bytes, or of float32 or float64 as the device computes.
func Read(v *bilevel.Variable) (*Array, error) {
	var data any
	var err error
	switch {
	case v.Type() == bilevel.Int:
		data, err = v.ReadInts()
	case v.Type() == bilevel.Byte:
		data, err = v.ReadBytes()
	case v.RealBits() == 32:
		data, err = v.Read32()
	default:
		data, err = v.Read()
	}
	if err != nil {
		return nil, err
	}
	return tensor.New(tensor.WithShape(v.Shape()...), tensor.WithBacking(data)), nil
}
