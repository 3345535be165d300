package philox

// The streams of the project: two different purposes never share one, so no two of them ever draw the same numbers
// under one seed. The numbers are written out, because a number, once released, keeps its meaning: it decides the bits
// of runs.
//
// Problems that need random numbers of their own count from StreamUser on.
const (
	StreamSplit      uint32 = 1  // which rows go to which part; step 0
	StreamCorrupt    uint32 = 2  // which labels are drawn anew (step 0), and as what (step 1)
	StreamInit       uint32 = 3  // start values of a model; step = number of the parameter
	StreamLowerBatch uint32 = 4  // minibatches of the lower objective; step = iteration
	StreamUpperBatch uint32 = 5  // minibatches of the upper objective; step = iteration
	StreamThirdBatch uint32 = 6  // minibatches of second derivatives, where they are separate; step = iteration
	StreamInner      uint32 = 7  // other draws inside an iteration (lengths of Neumann series, …); step = iteration
	StreamAttack     uint32 = 8  // start perturbations of attacks; step = iteration
	StreamProbe      uint32 = 9  // directions of checks, start vectors of eigenvalue estimates
	StreamProblem    uint32 = 10 // data of made-up problems (quadratic, ridge, …)
	StreamTest       uint32 = 11 // tests and benchmarks
	StreamDirections uint32 = 12 // directions of zeroth-order hypergradients; step = number of the call
	StreamSearch     uint32 = 13 // hyperparameters that a search tries; step = number of the trial

	StreamUser uint32 = 1 << 16
)
