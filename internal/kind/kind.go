// Package kind enumerates the variants of those operations that have several, once for the devices' interface, the
// processor's loops and the card's kernels.
package kind

// Reduce says how a reduction combines terms.
type Reduce uint8

const (
	Sum Reduce = iota
	Maximum
)

func (k Reduce) String() string { return [...]string{"sum", "max"}[k] }

// Softmax says what is computed from a row z. With M = max z and S = Σ exp(z - M):
type Softmax uint8

const (
	Probabilities    Softmax = iota // exp(z - M) / S
	LogProbabilities                // (z - M) - log S
	CrossEntropy                    // log S - (z[label] - M), one number a row; NaN for a label outside the row
)

func (k Softmax) String() string { return [...]string{"softmax", "log-softmax", "cross-entropy"}[k] }

// Random says how random numbers are distributed. Package philox defines their bits.
type Random uint8

const (
	Bits     Random = iota // Int: 32 random bits
	Integers               // Int: uniform below a limit, as the high word of bits × limit
	Uniform                // Real: (bits >> 8) · 2^-24, in [0, 1)
	Normal                 // Real: standard normal
)

func (k Random) String() string { return [...]string{"bits", "integers", "uniform", "normal"}[k] }

// Order says which order statistic is wanted, as a place.
type Order uint8

const (
	ArgMax     Order = iota // of the largest element of each row
	KthLargest              // of the k-th largest of all elements
)

func (k Order) String() string { return [...]string{"arg-max", "k-th largest"}[k] }

// Conv says which of the three arrays of a convolution, y, x and w of Σ y·x·w, is computed from the other two.
type Conv uint8

const (
	ConvForward        Conv = iota // y, the convolution itself, from x and w
	ConvInputGradient              // x, from y and w
	ConvWeightGradient             // w, from x and y
)

func (k Conv) String() string {
	return [...]string{"convolution", "convolution's input gradient", "convolution's weight gradient"}[k]
}

// Pool says what is made of the windows of images.
type Pool uint8

const (
	AveragePool        Pool = iota // the average of each window
	AveragePoolAdjoint             // its adjoint: each pixel gets its share of the windows' numbers
	MaxPool                        // the maximum of each window
	MaxPoolTangent                 // another image's pixel, at the place of the maximum of each window
	MaxPoolAdjoint                 // the adjoint: each window's number goes to the place of its maximum
)

func (k Pool) String() string {
	return [...]string{
		"average pool", "average pool's adjoint", "max pool", "max pool's tangent", "max pool's adjoint",
	}[k]
}
