//go:build cuda

package real_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/real"
	"bilevel/device/cuda/real/bridge"
	"bilevel/device/cuda/sim"
	"bilevel/device/devicetest"
	"bilevel/experiments"
	"bilevel/experiments/clean"
	"bilevel/internal/expr"
	"bilevel/tensor"
)

// The tests of this file run on the cards of the machine and, so that they are known to be right, on simulated ones.
// Where there is no card they skip that part, and fail with REQUIRE_GPU.

const requireGPU = "REQUIRE_GPU"

// a machine is a driver with cards; the simulated one is small and slow.
type machine struct {
	driver.Driver
	cards     int
	simulated bool
}

// everywhere runs a test on each kind of machine, one after the other: a process has one driver at a time.
func everywhere(t *testing.T, test func(t *testing.T, m machine)) {
	t.Run("simulated", func(t *testing.T) {
		drv, err := sim.New("h100", "rtx4090")
		require.NoError(t, err)
		drv.Memory, drv.Plain = 256<<20, true
		b, err := bridge.Open(drv)
		require.NoError(t, err)
		test(t, machine{b, 2, true})
	})
	t.Run("card", func(t *testing.T) {
		d, err := real.New()
		var cards []driver.Card
		if err == nil {
			cards, err = d.Cards()
		}
		if err == nil && len(cards) == 0 {
			err = errors.New("the driver finds no card")
		}
		switch {
		case err == nil:
			test(t, machine{d, len(cards), false})
		case os.Getenv(requireGPU) != "":
			t.Fatalf("%s is set: %v", requireGPU, err)
		default:
			t.Skip(err)
		}
	})
}

func (m machine) open(t *testing.T, card int, exact bool) *cuda.Device {
	t.Helper()
	d, err := cuda.New(m, cuda.Options{Name: fmt.Sprint("cuda:", card), Card: card, Exact: exact})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.Zero(t, d.Statistics().InUse)
		require.NoError(t, d.Close())
	})
	return d
}

func TestSuite(t *testing.T) {
	everywhere(t, func(t *testing.T, m machine) {
		every := 1
		if m.simulated && testing.Short() {
			t.Skip("long: the suite on simulated cards")
		}
		if m.simulated && os.Getenv("BILEVEL_LONG") == "" { // package cuda runs them all
			every = 32
		}
		for card := range m.cards {
			for _, exact := range []bool{false, true} {
				d := m.open(t, card, exact)
				cases := devicetest.Cases()
				for i := card; i < len(cases); i += every {
					require.NoError(t, cases[i].Run(d), "%s: %s", d.Info().Detail, cases[i].Name)
				}
			}
		}
	})
}

func upload(t *testing.T, d device.Device, v []float32) device.Buffer {
	t.Helper()
	b, err := d.Alloc(device.Real, len(v))
	require.NoError(t, err)
	require.NoError(t, d.Upload(b, 0, device.Float32s(v)))
	return b
}

func download(t *testing.T, d device.Device, b device.Buffer) []float32 {
	t.Helper()
	v := make([]float32, b.Len())
	require.NoError(t, d.Download(device.Float32s(v), b, 0))
	return v
}

// Transfers beyond the staging area go in parts, each way; earlier work is seen.
func TestTransfers(t *testing.T) {
	everywhere(t, func(t *testing.T, m machine) {
		d := m.open(t, 0, false)
		v := make([]float32, 2<<20+77)
		for i := range v {
			v[i] = float32(i % 8191)
		}
		b := upload(t, d, v)
		c, err := d.Alloc(device.Real, len(v))
		require.NoError(t, err)
		require.NoError(t, d.Copy(c, 0, b, 0, len(v)))
		require.True(t, equal(v, download(t, d, c)))
		require.NoError(t, d.Upload(c, 13, device.Float32s(v[:1<<20])))
		require.True(t, equal(v[:1<<20], download(t, d, c)[13:13+1<<20]))
		d.Free(b)
		d.Free(c)
	})
}

func equal(a, b []float32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// A card that is full says so, keeps what it has, and goes on when there is room.
func TestFullCard(t *testing.T) {
	everywhere(t, func(t *testing.T, m machine) {
		d := m.open(t, 0, false)
		first := upload(t, d, []float32{1, 2, 3})
		eighth := int(d.Card().Memory / 8 / 4)
		var list []device.Buffer
		var err error
		for err == nil {
			require.Less(t, len(list), 8, "the context and the staging area have memory too")
			var b device.Buffer
			if b, err = d.Alloc(device.Real, eighth); err == nil {
				list = append(list, b)
			}
		}
		require.ErrorIs(t, err, device.ErrMemory)
		require.ErrorContains(t, err, "bytes asked")
		require.NotEmpty(t, list)
		for _, b := range list {
			d.Free(b)
		}
		require.Equal(t, []float32{1, 2, 3}, download(t, d, first))
		again, err := d.Alloc(device.Real, eighth)
		require.NoError(t, err)
		d.Free(again)
		d.Free(first)
	})
}

// count is the program x ← x + 1, s ← Σ x.
func count(x, s device.Buffer) *device.Program {
	v := device.Dense(0, 0, x.Len())
	plus := &expr.Expr{
		Steps: []expr.Step{{}, {Fn: expr.Const, Const: 1}, {Fn: expr.Add, Args: [3]int{0, 1}}}, Outs: []int{2},
	}
	same := &expr.Expr{Steps: []expr.Step{{}}, Outs: []int{0}}
	return &device.Program{Name: "count", Buffers: []device.Buffer{x, s}, Code: []device.Instr{
		{Op: device.Map, Attr: device.MapAttr{Shape: v.Shape, Expr: plus}, In: []device.View{v}, Out: []device.View{v}},
		{
			Op:   device.Reduce,
			Attr: device.ReduceAttr{Shape: v.Shape, Expr: same, Axes: []int{0}, Kinds: []device.ReduceKind{device.Sum}},
			In:   []device.View{v}, Out: []device.View{device.Dense(1, 0, 1)},
		},
	}}
}

// counted runs the program so often; the sum of 1000 whole numbers below 2²⁴ is exact.
func counted(d device.Device, times int) (sum float32, err error) {
	var list []device.Buffer
	defer func() {
		for _, b := range list {
			d.Free(b)
		}
	}()
	for _, n := range []int{1000, 1} {
		b, err := d.Alloc(device.Real, n)
		if err != nil {
			return 0, err
		}
		list = append(list, b)
	}
	r, err := d.Prepare(count(list[0], list[1]))
	if err != nil {
		return 0, err
	}
	if err := errors.Join(r.Run(times), r.Run(1)); err != nil {
		return 0, errors.Join(err, r.Close())
	}
	out := make([]float32, 1)
	err = d.Download(device.Float32s(out), list[1], 0)
	return out[0], errors.Join(err, r.Close())
}

// A graph is replayed as often as asked, in order, and the card's clock runs meanwhile.
func TestReplay(t *testing.T) {
	everywhere(t, func(t *testing.T, m machine) {
		d := m.open(t, 0, false)
		times := 2000
		if m.simulated {
			times = 20
		}
		var sum float32
		seconds, err := d.Time(func() (err error) { sum, err = counted(d, times); return err })
		require.NoError(t, err)
		require.Equal(t, float32(1000*(times+1)), sum)
		require.Greater(t, seconds, float64(times)*1e-7)
		require.Less(t, seconds, 60.)
	})
}

// All cards at once, each from goroutines of its own; none takes another's memory.
func TestCardsAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, m machine) {
		cards := make([]*cuda.Device, max(2, m.cards)) // of a single card two contexts
		for i := range cards {
			cards[i] = m.open(t, i%m.cards, false)
		}
		var wg sync.WaitGroup
		errs := make([]error, 4*len(cards))
		for i := range errs {
			wg.Go(func() {
				sum, err := counted(cards[i%len(cards)], 5+i)
				if err == nil && sum != float32(1000*(6+i)) {
					err = fmt.Errorf("counted %v in %d runs", sum, 6+i)
				}
				errs[i] = err
			})
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
		b := upload(t, cards[0], []float32{1})
		require.ErrorContains(t, cards[1].Upload(b, 0, device.Float32s([]float32{2})), "another device")
		cards[0].Free(b)
	})
}

// Faults that leave the card as it was: each is an error that says what, and the device goes on.
func TestHarmlessFaults(t *testing.T) {
	everywhere(t, func(t *testing.T, m machine) {
		c, err := m.Driver.Open(0)
		require.NoError(t, err)
		_, err = c.Load(".version 8.2\n.target sm_80\n.address_size 64\n.visible .entry k() { frobnicate.u32; }")
		require.Equal(t, driver.InvalidPTX, code(t, err))
		mod, err := c.Load(".version 8.2\n.target sm_80\n.address_size 64\n.visible .entry nothing() { ret; }")
		require.NoError(t, err)
		_, err = mod.Function("something")
		require.Equal(t, driver.NotFound, code(t, err))
		f, err := mod.Function("nothing")
		require.NoError(t, err)
		require.Equal(t, driver.InvalidValue, code(t, f.AllowShared(1<<20)))
		s, err := c.Stream()
		require.NoError(t, err)
		line := func(n int) [3]int { return [3]int{n, 1, 1} }
		for what, l := range map[string]driver.Launch{
			"no block":         {Grid: line(0), Block: line(32)},
			"too many threads": {Grid: line(1), Block: line(1025)},
			"too many along y": {Grid: [3]int{1, 65536, 1}, Block: line(32)},
			"too much shared":  {Grid: line(1), Block: line(32), Shared: 49 << 10},
		} {
			require.Equal(t, driver.InvalidValue, code(t, s.Launch(f, l)), what)
		}
		_, err = c.Alloc(1 << 50)
		require.Equal(t, driver.OutOfMemory, code(t, err))
		require.NoError(t, s.Launch(f, driver.Launch{Grid: line(1), Block: line(32)}))
		require.NoError(t, s.Synchronize())
		require.NoError(t, s.Close())
		require.NoError(t, mod.Unload())
		require.NoError(t, c.Close())

		d := m.open(t, 0, false)
		table, index := upload(t, d, make([]float32, 30)), []int32{0, 9, 10}
		i, err := d.Alloc(device.Int, 3)
		require.NoError(t, err)
		require.NoError(t, d.Upload(i, 0, device.Int32s(index)))
		out := upload(t, d, make([]float32, 9))
		r, err := d.Prepare(
			&device.Program{Name: "rows", Buffers: []device.Buffer{table, i, out}, Code: []device.Instr{
				{
					Op: device.Gather, In: []device.View{device.Dense(0, 0, 10, 3), device.Dense(1, 0, 3)},
					Out: []device.View{device.Dense(2, 0, 3, 3)},
				},
			}},
		)
		require.NoError(t, err)
		require.NoError(t, r.Run(1))
		err = d.Sync()
		require.ErrorIs(t, err, device.ErrIndex)
		require.ErrorContains(t, err, "element 2 is 10, the table has 10 rows")
		require.NoError(t, d.Upload(i, 0, device.Int32s([]int32{1, 2, 3})))
		require.NoError(t, r.Run(1))
		require.NoError(t, d.Sync())
		require.NoError(t, r.Close())
		for _, b := range []device.Buffer{table, i, out} {
			d.Free(b)
		}
	})
}

func code(t *testing.T, err error) driver.Code {
	t.Helper()
	var e *driver.Error
	require.ErrorAs(t, err, &e)
	return e.Code
}

// doomed are kernels whose faults take the cards from the process.
var doomed = map[string]string{
	"address": ".reg .b64 %d<2>; mov.u64 %d1, 64; st.global.u32 [%d1], 1;",
	"trap":    "trap;",
}

// A kernel's fault is an error that cannot be gone on from, of this and of every later call. It takes a process of its
// own, which runs the test again.
func TestFaultTakesTheProcess(t *testing.T) {
	const which = "BILEVEL_TEST_DOOMED"
	if body := doomed[os.Getenv(which)]; body != "" {
		everywhere(t, func(t *testing.T, m machine) {
			c, err := m.Driver.Open(0)
			require.NoError(t, err)
			mod, err := c.Load(
				".version 8.2\n.target sm_80\n.address_size 64\n.visible .entry k() { " + body + " ret; }",
			)
			require.NoError(t, err)
			f, err := mod.Function("k")
			require.NoError(t, err)
			s, err := c.Stream()
			require.NoError(t, err)
			one := [3]int{1, 1, 1}
			require.NoError(t, s.Launch(f, driver.Launch{Grid: one, Block: one}))
			for range 2 {
				var e *driver.Error
				require.ErrorAs(t, s.Synchronize(), &e)
				require.True(t, e.Sticky(), "%v", e)
				t.Log(e)
			}
			_, err = c.Alloc(1024)
			require.Error(t, err)
			_, err = cuda.New(m, cuda.Options{Name: "cuda:0"})
			require.ErrorIs(t, err, device.ErrLost)
		})
		return
	}
	everywhere(t, func(t *testing.T, _ machine) {
		for name := range doomed {
			_, kind, _ := strings.Cut(t.Name(), "/")
			self := exec.Command(os.Args[0], "-test.run=^TestFaultTakesTheProcess$/^"+kind+"$", "-test.v")
			self.Env = append(os.Environ(), which+"="+name)
			out, err := self.CombinedOutput()
			t.Log(string(out))
			require.NoError(t, err, name)
		}
	})
}

// A whole experiment takes the same minibatches on the card as on the processor and ends with the same numbers: an
// iteration adds about 20 roundings of 2⁻²⁴ at most, on both sides. Another seed ends elsewhere.
func TestCleaning(t *testing.T) {
	set, err := data.Digits()
	require.NoError(t, err)
	everywhere(t, func(t *testing.T, m machine) {
		c := clean.Config{
			Corrupt: 0.5, Train: 1000, Val: 400, Algorithm: "soba", Schedule: "linear", Step: 0.1,
			OuterStep: 60, Reg: 0.3,
			Iterations: 200, Batch: 64, Records: 4,
		}
		if m.simulated {
			if testing.Short() {
				t.Skip("long: a whole experiment on a simulated card")
			}
			c.Train, c.Val, c.Iterations, c.Batch = 48, 32, 5, 16
		}
		run := func(d device.Device, seed uint64) (loss, hypergradient float64) {
			ex := tensor.NewExecutor(d)
			cell := experiments.Cell{Experiment: "clean", Config: c, Seed: seed}
			r, err := clean.Experiment{}.Run(context.Background(), &experiments.Env{Executor: ex, Data: set}, cell)
			require.NoError(t, err)
			require.NoError(t, ex.Close())
			end := r.Curve.Rows[len(r.Curve.Rows)-1]
			return end[slices.Index(r.Curve.Columns, "val_loss")], r.Certificate.Norm()
		}
		cpu := cpudevice.New(0)
		want, wantNorm := run(cpu, 3)
		other, _ := run(cpu, 4)
		require.NoError(t, cpu.Close())
		got, gotNorm := run(m.open(t, 0, false), 3)
		roundOff := 2 * 20 * float64(c.Iterations) * 0x1p-24
		require.InEpsilon(t, want, got, roundOff)
		require.InEpsilon(t, wantNorm, gotNorm, 10*roundOff, "a linear solve in between")
		require.Greater(t, max(other/want, want/other), 1+10*roundOff)
	})
}

// Where there is no card, REQUIRE_GPU makes of the skipped tests failed ones.
func TestRequiredCard(t *testing.T) {
	d, err := real.New()
	if err == nil {
		if cards, err := d.Cards(); err == nil && len(cards) > 0 {
			t.Skip("there is a card")
		}
	}
	self := exec.Command(os.Args[0], "-test.run=^TestReplay$/^card$", "-test.v")
	for _, c := range []struct{ value, says string }{{"", "--- SKIP: TestReplay/card"},
		{"1", "--- FAIL: TestReplay/card"}} {
		cmd := *self
		cmd.Env = append(os.Environ(), requireGPU+"="+c.value)
		out, err := cmd.CombinedOutput()
		require.Equal(t, c.value != "", err != nil, string(out))
		require.Contains(t, string(out), c.says)
		require.True(t, strings.Contains(string(out), "driver"), "why")
	}
}
