package data

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// StandIn gives made-up images in the place of a set that Open knows by name: as many rows as it is asked for, of the
// set's shape and classes, with pixels and labels drawn at random, the same every time. It is for plans and tests on
// machines where the set is not. Whatever accuracy comes out of it means nothing. Tables of numbers have no stand-in.
func StandIn(name string, train, test int) (*Dataset, error) {
	set, ok := namedSets()[name]
	if !ok || len(set.shape) < 2 {
		return nil, usagef("no images can stand in for the data set %q", name)
	}
	d := &Dataset{Name: name, Source: "made up", Shape: set.shape, Classes: set.classes,
		Notes: []string{fmt.Sprintf("made-up images stand in for the set, which is not on this machine: get it with: "+
			"bilevel data get %s", name)}}
	for y := range set.classes {
		d.ClassNames = append(d.ClassNames, strconv.Itoa(y))
	}
	source := rand.NewChaCha8([32]byte{1})
	random := rand.New(source)
	rows := func(n int) *Set {
		s := &Set{Dim: 1, Labels: make([]int32, n)}
		for _, size := range set.shape {
			s.Dim *= size
		}
		s.Bytes = make([]byte, n*s.Dim)
		source.Read(s.Bytes)
		for i := range s.Labels {
			s.Labels[i] = random.Int32N(int32(set.classes))
		}
		return s
	}
	d.Train, d.Test = rows(train), rows(test)
	return d, nil
}
