// Package engine runs everything that iterates: bi-level algorithms, single-level minimizers, baselines.
//
// An algorithm describes its state by names, and an iteration as a few phases that build the next state as graph nodes:
//
//	spec := engine.Spec{
//		Name:  "gradient descent",
//		State: []engine.Array{{Name: "x", Values: x}, {Name: "y", Values: y}},
//		Rates: []engine.Rate{{Name: "step", At: func(k int) float64 { return 0.1 }}},
//		Phases: []engine.Phase{{
//			Draws: []engine.Draw{{Of: problem.Lower}},
//			Build: func(it *engine.Iteration, s *engine.State) {
//				y := s.Get("y")
//				g := it.Lower(s.Get("x"), y, it.Batch("lower")).GradY()
//				s.Set("y", y.Sub(it.Rate("step").Mul(g)))
//			},
//		}},
//	}
//	e, err := engine.New(bound, spec)
//
// The engine compiles each phase once. Minibatches and step sizes of many iterations are uploaded at once, and the
// device picks its row by a counter, so that it does many iterations without the host. Minibatches are functions of
// (seed, level, number of the draw), random numbers of (seed, number of the repetition): writing the state of iteration
// k back and going on at k gives the same bits.
//
// Phases may repeat a number of times that depends on the iteration, draw several minibatches each (of another size,
// all rows, fixed ones with their number), ask for several points under one draw, move the running statistics of a
// model as often as they Commit, and draw random numbers on the device. Step sizes that the host decides are set by
// Spec.Between.
//
// Run is the loop around it: limits, stopping rules, records, the watch for numbers that are not finite, and the copy
// of a completed iteration that a stop leaves behind.
package engine
