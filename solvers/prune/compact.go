package prune

import (
	"slices"

	"bilevel/models/params"
)

// Compacted is a network without the units that contribute nothing.
type Compacted struct {
	Counts        []int    // of the units that are left, in the order of the units given
	Emptied       []string // layers of which no unit contributed: one is left, whose parameters are all zero
	Params, State params.Values
}

// Compact cuts units out of a network with parameters z = m ⊙ θ: those that nothing reads, because all that would read
// them is zero. What is only read by units that are cut is cut as well. The network that is left, the model with Counts
// units, has the outputs of the one with z, but for the rounding of shorter sums. A layer keeps at least one unit.
func Compact(units []params.Units, z, state params.Values) (*Compacted, error) {
	if err := joined(z.Check(), state.Check()); err != nil {
		return nil, err
	}
	live := make([][]bool, len(units))
	for i, u := range units {
		live[i] = make([]bool, u.Count)
		for j := range live[i] {
			live[i][j] = true
		}
		for _, part := range []struct {
			slots []params.Slot
			of    params.Layout
		}{{u.Slots, z.Layout}, {u.State, state.Layout}} {
			for _, slot := range part.slots {
				if err := fits(u, slot, part.of); err != nil {
					return nil, err
				}
			}
		}
	}
	for changed := true; changed; {
		changed = false
		for i, u := range units {
			read := readers(units, live, i, z)
			for j := range u.Count {
				if live[i][j] && !read[j] {
					live[i][j], changed = false, true
				}
			}
		}
	}
	c := &Compacted{}
	kept := make([][]int, len(units)) // indices
	for i, u := range units {
		for j, ok := range live[i] {
			if ok {
				kept[i] = append(kept[i], j)
			}
		}
		if len(kept[i]) == 0 {
			kept[i] = []int{0}
			c.Emptied = append(c.Emptied, u.Name)
		}
		c.Counts = append(c.Counts, len(kept[i]))
	}
	left := z.Like(slices.Clone(z.Flat))
	for i, u := range units {
		if !anyOf(live[i]) { // what is left of it is zeros
			clearUnit(left, u, 0)
		}
	}
	c.Params = cut(units, kept, func(u params.Units) []params.Slot { return u.Slots }, left)
	c.State = cut(units, kept, func(u params.Units) []params.Slot { return u.State }, state)
	return c, nil
}

// clearUnit sets all parameters of a unit to 0.
func clearUnit(z params.Values, u params.Units, unit int) {
	for _, s := range u.Slots {
		a, _ := z.Layout.Find(s.Array)
		each(a, func(at int, index []int) {
			if of, ok := s.Unit(index[s.Axis], u.Count); ok && of == unit {
				z.Flat[a.Off+at] = 0
			}
		})
	}
}

func anyOf(list []bool) bool {
	for _, v := range list {
		if v {
			return true
		}
	}
	return false
}

// readers tells for each unit of family i whether anything that lives reads it with a parameter that is not zero.
func readers(units []params.Units, live [][]bool, i int, z params.Values) []bool {
	u := units[i]
	read := make([]bool, u.Count)
	for _, s := range u.Slots {
		if s.Output {
			continue
		}
		a, _ := z.Layout.Find(s.Array)
		axes := axesOf(units, a.Name)
		each(a, func(at int, index []int) {
			unit, ok := s.Unit(index[s.Axis], u.Count)
			if !ok || read[unit] || z.Flat[a.Off+at] == 0 {
				return
			}
			for _, x := range axes { // the output of a unit that is cut does not count
				reader, ok := x.Unit(index[x.Axis], units[x.family].Count)
				if ok && x.Output && !live[x.family][reader] {
					return
				}
			}
			read[unit] = true
		})
	}
	return read
}

// axis says that units lie along an axis of an array.
type axis struct {
	params.Slot
	family int
}

func axesOf(units []params.Units, array string) (list []axis) {
	for i, u := range units {
		for _, s := range append(u.Slots[:len(u.Slots):len(u.Slots)], u.State...) {
			if s.Array == array {
				list = append(list, axis{s, i})
			}
		}
	}
	return list
}

// each visits the elements of an array with their places in it and their indices.
func each(a params.Array, visit func(at int, index []int)) {
	index := make([]int, len(a.Shape))
	for at := range a.Size() {
		visit(at, index)
		for d := len(index) - 1; d >= 0; d-- { // the next one
			if index[d]++; index[d] < a.Shape[d] {
				break
			}
			index[d] = 0
		}
	}
}

// cut keeps the slices of units that are left.
func cut(units []params.Units, kept [][]int, slots func(params.Units) []params.Slot, v params.Values) (
	out params.Values) {
	for _, a := range v.Layout {
		along := make([][]int, len(a.Shape)) // the slices kept; nil: all
		for i, u := range units {
			for _, s := range slots(u) {
				if s.Array == a.Name {
					along[s.Axis] = without(along[s.Axis], a.Shape[s.Axis], s, u.Count, kept[i])
				}
			}
		}
		shape := append([]int(nil), a.Shape...)
		for d, list := range along {
			if list != nil {
				shape[d] = len(list)
			}
		}
		to := params.Array{Shape: shape}
		values := make([]float64, to.Size())
		from := v.Of(a.Name)
		each(to, func(at int, index []int) {
			place := 0
			for d, j := range index {
				if along[d] != nil {
					j = along[d][j]
				}
				place = place*a.Shape[d] + j
			}
			values[at] = from[place]
		})
		out = out.AndShaped(a.Name, shape, values)
	}
	return out
}

// without is slices of an axis, nil for all of them, without those of the units that are not kept.
func without(list []int, length int, s params.Slot, count int, kept []int) []int {
	if list == nil {
		for j := range length {
			list = append(list, j)
		}
	}
	return slices.DeleteFunc(list, func(j int) bool {
		unit, ok := s.Unit(j, count)
		return ok && !slices.Contains(kept, unit)
	})
}
