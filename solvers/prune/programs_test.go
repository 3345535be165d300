package prune_test

import (
	"sync"
	"testing"

	"bilevel/device"
	"bilevel/device/null"
	"bilevel/internal/expr"
	"bilevel/solvers/minimize"
	"bilevel/solvers/prune"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// recorder is a null device that keeps the programs that it is given.
type recorder struct {
	*null.Device
	mu       sync.Mutex
	programs []*device.Program
}

func (r *recorder) Prepare(p *device.Program) (device.Runner, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.programs = append(r.programs, p)
	return r.Device.Prepare(p)
}

// products lists the instructions of a program outside of matrix products that multiply two different variables of the
// size of all parameters, or windows of at least so many elements of them, element by element.
func products(p *device.Program, parameters, window int) (list []string) {
	variable := func(v device.View) bool {
		for _, s := range p.Scratch {
			if s == v.Buf {
				return false
			}
		}
		distinct := 1
		for i, d := range v.Shape {
			if v.Strides[i] != 0 {
				distinct *= d
			}
		}
		return p.Buffers[v.Buf].Len() == parameters && distinct >= window
	}
	for _, in := range p.Code {
		var e *expr.Expr
		switch a := in.Attr.(type) {
		case device.MapAttr:
			e = a.Expr
		case device.ReduceAttr:
			e = a.Expr
		default:
			continue
		}
		input := func(step int) (buffer int, ok bool) {
			s := e.Steps[step]
			if s.Fn != expr.Input || !variable(in.In[s.Arg]) {
				return 0, false
			}
			return in.In[s.Arg].Buf, true
		}
		for _, s := range e.Steps {
			if s.Fn != expr.Mul {
				continue
			}
			a, first := input(s.Args[0])
			if b, second := input(s.Args[1]); first && second && a != b {
				list = append(list, in.Op.String())
			}
		}
	}
	return list
}

// No step of training or of a search has an array m ⊙ θ in its program, but for Gradual, which ranks |m ⊙ θ|. The test
// sees products of variables. Those of weights that a program computes are in tensor's TestMasksOfWhatIsStored; weights
// between the steps of bip-unrolled, which are no variables, are multiplied into memory where it takes several.
func TestNoMaskedWeightsInPrograms(t *testing.T) {
	for _, batchNorm := range []bool{false, true} {
		rec := &recorder{Device: null.New()}
		ex := tensor.NewExecutor(rec)
		s := newSmall(t, batchNorm, false, 4)
		n := len(s.theta)
		const weights = 15 // elements of the smaller array of weights
		b := s.bind(t, ex, s.task.Ones())
		inspect := func(name string, masked bool) {
			found, gemms := 0, 0
			for _, p := range rec.programs {
				found += len(products(p, n, weights))
				for _, in := range p.Code {
					if a, ok := in.Attr.(device.GemmAttr); ok && (a.MaskA || a.MaskB) {
						gemms++
					}
				}
			}
			require.Equal(t, masked, found > 0, name)
			require.Positive(t, gemms, name)
			rec.programs = nil
		}
		for _, m := range []minimize.Method{
			minimize.SGD{Step: 0.1, Momentum: 0.9, WeightDecay: 1e-4}, minimize.Adam{WeightDecay: 1e-4},
		} {
			e, err := minimize.New(b, prune.Masked{Method: m}, 10, 1)
			require.NoError(t, err)
			inspect(m.Name(), false)
			require.NoError(t, e.Close())
		}
		searches := []prune.Search{prune.HYDRA{Step: 1, Momentum: 0.9},
			prune.Gradual{Method: minimize.SGD{Step: 0.1}, Every: 2}}
		for _, row := range prune.Rows() {
			m := prune.BiP{Row: row.Name, WeightStep: 0.1, WeightMomentum: 0.9, WeightDecay: 1e-4, ScoreStep: 0.1}
			if row.Name != prune.RowNoImplicit && row.Name != prune.RowUnrolled {
				m.InverseGamma = 0.1
			}
			searches = append(searches, m)
		}
		for _, m := range searches {
			e, err := prune.New(background, m, s.task, b, prune.Kept{10}, 10, 1)
			require.NoError(t, err)
			_ = e.Step(background, 0, 1) // bip-exact makes its programs when it begins; numbers are all 0 here
			inspect(m.Name(), m.Name() == "gradual")
			require.NoError(t, e.Close())
		}
		require.NoError(t, b.Close())
		require.NoError(t, ex.Close())
	}
}
