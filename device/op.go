package device

import (
	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// Op is one family of operations. Ops describes each; nothing else in the project enumerates operations anew.
type Op uint8

const (
	// Gemm computes Out[b,m,n] = φ(Σ_k A'[b,m,k] B'[b,k,n], extras), for each b.
	// In: A [b,m,k], B [b,k,n]; then, where the attribute says so, a mask of A's shape (A' = mask ⊙ A, else A' = A) and
	// a mask of B's shape; then the epilogue's extra inputs, each [b,m,n]. Transposition and shared batches are
	// strides. φ is the epilogue expression: its input 0 is the product, inputs 1… the extras; nil means the product
	// itself. Out overlaps neither A, B nor the masks; an extra may be exactly Out.
	Gemm Op = iota

	// Map computes Out_i = expression(In…) at every point of Attr.Shape. All views have that shape
	// (broadcasting is a zero stride). An Out may be exactly one of the In views, otherwise they do not overlap.
	Map

	// Reduce evaluates an expression over Attr.Shape and reduces its first len(Kinds) results over Axes
	// (shape with those axes 1); further results are stored whole, as Map does. The order of the terms is fixed:
	// the same bits for any number of threads. A sum of no terms is 0, a maximum of none -Inf; maximum: NaN wins.
	Reduce

	// RowSoftmax works on the rows of In0 [r,c], by Attr.Kind:
	// Softmax Out [r,c] = exp(z - max z)/Σ; LogSoftmax Out [r,c] = z - logΣexp z; CrossEntropy with In1 Int [r]:
	// Out [r] = logΣexp z - z[label]. Out may be exactly In0 for the first two. A label outside 0…c-1 gives NaN.
	RowSoftmax

	// Conv is a convolution (see ConvShape for its formula and the shapes of x, w and y) or one of its gradients. All
	// three are one form Σ y·x·w, of which Attr.Kind says what is computed from the other two:
	// ConvForward y from In x, w; ConvInputGradient x from In y, w; ConvWeightGradient w from In x, y. They are linear
	// in each input, so that every derivative of one of them is another one of them. The epilogue's extra inputs, of
	// the output's shape, follow as for Gemm. Where x lies outside the images nothing is added; whether a device
	// multiplies a zero there, so that a weight which is not finite gives NaN, is left to it. Out overlaps neither
	// operand; an extra may be exactly Out.
	Conv
	// Pool takes the windows that PoolShape describes, by Attr.Kind. x and t are images, y and Out of their results'
	// shape.
	// AveragePool: Out from In x, the average of each window. AveragePoolAdjoint: images from In y, each pixel's sum of
	// the y of its windows, each divided by what the average divides by. MaxPool: Out from In x, the maximum of each
	// window; padding is none, NaN wins. MaxPoolTangent: Out from In x, t: the t where the window's maximum of x lies,
	// the first of equals by rows; NaN before every number. MaxPoolAdjoint: images from In x, y: each pixel's sum of
	// the y of the windows whose maximum it is in that sense, else 0. Out is apart from the inputs.
	Pool

	// Gather: Out[j,:] = In0[idx[j],:], with In0 [n,d] and In1 = idx Int [j]. Real or Int rows; Byte rows become Real
	// ones. An index outside 0…n-1 makes Run (or the next Sync) fail with ErrIndex.
	Gather
	// ScatterAdd: Out = In0; then for j in order Out[idx[j],:] += In2[j,:], with In0, Out [n,d], In1 = idx Int [j], In2
	// [j,d]. Out may be exactly In0. Bad indices as for Gather.
	ScatterAdd

	// Order finds order statistics, as places, by Attr.Kind; Gather fetches what is there. Elements have one order: NaN
	// before every number, all NaN being equal, then larger before smaller, -0 and 0 being equal; equals in the order
	// in which they lie.
	// ArgMax: In0 [r,c], c > 0, Out Int [r] = the column of each row's first element.
	// KthLargest: In0 = k Int [1]; In1… Real of rank 1, one array of n elements laid end to end, 0 < n < 2^31. Out Int
	// [1] = the i before whose element exactly k-1 others come. A k outside 1…n makes Run (or the next Sync) fail with
	// ErrIndex. Out is apart from In0.
	Order

	// Random fills Out [n] by Philox 4x32-10 (see internal/philox): In0 Int [2] = the seed's low and high word,
	// In1 Int [1] = the step. Bits, Uniform, Normal and Integers below Attr.N are the same bits on every device.
	Random

	// Copy: Out = In0, same shape, any strides; between types it casts as ToReal and ToInt do.
	Copy

	NumOp // number of operations, not an operation
)

// OpInfo is one row of Ops.
type OpInfo struct {
	Name string
	// TakesEpilogue: an elementwise expression of the result may be part of the operation. Its attribute is then an
	// EpilogueAttr.
	TakesEpilogue bool
	// Dense: every operand and every output lies as a dense array does (View.IsDense); the epilogue's extra inputs may
	// lie anyhow.
	Dense bool
	// Check is the shape rule: it refuses views whose number, types or shapes do not fit.
	Check func(*Instr, *Program) error
}

// Ops describes every operation; a test checks that no row is missing.
var Ops = [NumOp]OpInfo{
	Gemm:       {Name: "Gemm", TakesEpilogue: true, Check: checkGemm},
	Map:        {Name: "Map", Check: checkMap},
	Reduce:     {Name: "Reduce", Check: checkReduce},
	RowSoftmax: {Name: "RowSoftmax", Check: checkRowSoftmax},
	Conv:       {Name: "Conv", TakesEpilogue: true, Dense: true, Check: checkConv},
	Pool:       {Name: "Pool", Dense: true, Check: checkPool},
	Gather:     {Name: "Gather", Check: checkGather},
	ScatterAdd: {Name: "ScatterAdd", Check: checkScatterAdd},
	Order:      {Name: "Order", Check: checkOrder},
	Random:     {Name: "Random", Check: checkRandom},
	Copy:       {Name: "Copy", Check: checkCopy},
}

func (o Op) String() string {
	if o < NumOp {
		return Ops[o].Name
	}
	return "Op(?)"
}

// Attr holds what an instruction needs beside its views: one type per family, nil for Gather, ScatterAdd, Copy.
type Attr interface{ attr() }

// EpilogueAttr is the attribute of an operation that takes an epilogue: an expression of the result, which is its input
// 0, and of extra inputs of the result's shape, its inputs 1, 2 and so on.
type EpilogueAttr interface {
	Attr
	WithEpilogue(*expr.Expr) Attr
	Extras() int // the number of the first of the instruction's inputs that belongs to the epilogue
}

// GemmAttr belongs to Gemm.
type GemmAttr struct {
	MaskA, MaskB bool       // a mask follows A and B in In
	Epilogue     *expr.Expr // one output; nil: store the product
}

// WithEpilogue is the same product with an epilogue.
func (a GemmAttr) WithEpilogue(e *expr.Expr) Attr {
	a.Epilogue = e
	return a
}

// Extras is the number of the first input that belongs to the epilogue.
func (a GemmAttr) Extras() int {
	n := 2
	for _, mask := range [2]bool{a.MaskA, a.MaskB} {
		if mask {
			n++
		}
	}
	return n
}

// MapAttr belongs to Map.
type MapAttr struct {
	Shape []int
	Expr  *expr.Expr
}

// ReduceKind says how Reduce combines terms.
type ReduceKind = kind.Reduce

const (
	Sum     = kind.Sum
	Maximum = kind.Maximum
)

// ReduceAttr belongs to Reduce.
type ReduceAttr struct {
	Shape []int
	Expr  *expr.Expr
	Axes  []int        // ascending
	Kinds []ReduceKind // of the expression's first results
}

// SoftmaxKind chooses what RowSoftmax computes.
type SoftmaxKind = kind.Softmax

const (
	Softmax      = kind.Probabilities
	LogSoftmax   = kind.LogProbabilities
	CrossEntropy = kind.CrossEntropy
)

// SoftmaxAttr belongs to RowSoftmax.
type SoftmaxAttr struct{ Kind SoftmaxKind }

// ConvKind chooses what Conv computes.
type ConvKind = kind.Conv

const (
	ConvForward        = kind.ConvForward
	ConvInputGradient  = kind.ConvInputGradient
	ConvWeightGradient = kind.ConvWeightGradient
)

// Slot numbers the arrays of a convolution: x, w and y.
type Slot uint8

const (
	SlotX Slot = iota
	SlotW
	SlotY
)

// ConvSlots says of each kind of Conv which arrays its two inputs and its output are.
var ConvSlots = [...][3]Slot{
	ConvForward:        {SlotX, SlotW, SlotY},
	ConvInputGradient:  {SlotY, SlotW, SlotX},
	ConvWeightGradient: {SlotX, SlotY, SlotW},
}

// ConvAttr belongs to Conv.
type ConvAttr struct {
	Kind     ConvKind
	Shape    ConvShape
	Epilogue *expr.Expr // one output; nil: store the sums
}

// WithEpilogue is the same convolution with an epilogue.
func (a ConvAttr) WithEpilogue(e *expr.Expr) Attr {
	a.Epilogue = e
	return a
}

// Extras is the number of the first input that belongs to the epilogue.
func (a ConvAttr) Extras() int { return 2 }

// PoolKind chooses what Pool computes.
type PoolKind = kind.Pool

const (
	AveragePool        = kind.AveragePool
	AveragePoolAdjoint = kind.AveragePoolAdjoint
	MaxPool            = kind.MaxPool
	MaxPoolTangent     = kind.MaxPoolTangent
	MaxPoolAdjoint     = kind.MaxPoolAdjoint
)

// PoolAttr belongs to Pool.
type PoolAttr struct {
	Kind  PoolKind
	Shape PoolShape
}

// OrderKind chooses what Order computes.
type OrderKind = kind.Order

const (
	ArgMax     = kind.ArgMax
	KthLargest = kind.KthLargest
)

// OrderAttr belongs to Order.
type OrderAttr struct{ Kind OrderKind }

// RandomKind chooses a distribution.
type RandomKind = kind.Random

const (
	Bits     = kind.Bits
	Integers = kind.Integers
	Uniform  = kind.Uniform
	Normal   = kind.Normal
)

// RandomAttr belongs to Random.
type RandomAttr struct {
	Kind   RandomKind
	Stream uint32
	N      uint32 // Integers only
}

func (GemmAttr) attr()    {}
func (ConvAttr) attr()    {}
func (PoolAttr) attr()    {}
func (MapAttr) attr()     {}
func (ReduceAttr) attr()  {}
func (SoftmaxAttr) attr() {}
func (OrderAttr) attr()   {}
func (RandomAttr) attr()  {}
