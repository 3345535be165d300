// Package minimize holds single-level minimizers: for plain training, baselines and lower levels.
//
// Stochastic methods (SGD, Adam) are run by package engine: on minibatches of a problem's lower level, with x held at
// its start. Alone makes a problem of a single level.
//
//	b, err := minimize.Alone("network", level, problem.Values{}).Bind(ex)
//	e, err := minimize.New(b, minimize.SGD{Step: 0.1, Momentum: 0.9, Schedule: "cosine"}, n, seed)
//	out, err := e.Run(ctx, engine.Limits{Iterations: n})
//	y := out.Last.Arrays["y"]
//
// Deterministic ones (GradientDescent, LBFGS, Newton) minimize a function of one vector, on all its data, to a
// tolerance. PrepareRows takes a mean over rows and looks at so many rows at a time, where all of them would not fit
// into memory together.
package minimize
