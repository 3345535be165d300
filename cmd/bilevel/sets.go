package main

import "bilevel/data"

// sets are the data sets of a command that works off tables. Each is read once, however many rows and passes over a
// recipe ask for it, and what is worth knowing of it is said once.
type sets struct {
	open   func(*common) (*data.Dataset, error)
	opened map[source]*data.Dataset
}

// source is what the flags say of a data set.
type source struct {
	data, label string
	bytes       bool
}

func newSets(open func(*common) (*data.Dataset, error)) *sets {
	return &sets{open, map[source]*data.Dataset{}}
}

// sets are those of the flags: plans have stand-ins for images that are not on this machine.
func (a *app) sets(f *tableFlags) *sets {
	if f.dry || f.trial != "" {
		return newSets(a.openOrStandIn)
	}
	return newSets(a.openData)
}

// of is the set that the flags name.
func (s *sets) of(f *common) (*data.Dataset, error) {
	name := source{f.data, f.label, f.bytes}
	if set := s.opened[name]; set != nil {
		return set, nil
	}
	set, err := s.open(f)
	if err != nil {
		return nil, err
	}
	s.opened[name] = set
	return set, nil
}
