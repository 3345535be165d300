package ptx

import (
	"slices"

	"bilevel/internal/ptx/arith"
	"bilevel/internal/ptx/syntax"
)

// A fusion is what the Contract mode makes of an instruction: a product that its sum has taken in (drop), or the sum,
// which becomes an fma of the product's operands.
type fusion struct {
	drop     bool
	mul      *syntax.Instr
	left     bool // the product is the first operand of the sum
	subtract bool
}

// contractions finds the pairs that ptxas may fuse: a mul.f32 or mul.f64 without rounding modifier whose only use is an
// add or sub of the same kind later in the same basic block, with its operands unchanged in between.
func (d *decoder) contractions() map[int]fusion {
	if !d.v.contract {
		return nil
	}
	body := d.f.fn.Body
	reads := map[string]int{}
	writes := map[string]int{}
	for i := range body {
		for k, op := range body[i].Args {
			count(op, func(name string) {
				if k == 0 && writesFirst(body[i].Op) {
					writes[name]++
				} else {
					reads[name]++
				}
			})
		}
	}
	starts := map[int]bool{} // of basic blocks
	for _, at := range d.f.fn.Labels {
		starts[at] = true
	}
	fused := map[int]fusion{}
	for i := range body {
		mul := &body[i]
		if mul.Op != "mul" || mul.Guard != "" || !contractible(mul.Mods) || len(mul.Args) != 3 {
			continue
		}
		product := mul.Args[0].Name
		if reads[product] != 1 || writes[product] != 1 {
			continue
		}
		for k := i + 1; k < len(body) && !starts[k]; k++ {
			sum := &body[k]
			if (sum.Op == "add" || sum.Op == "sub") && sum.Guard == "" && slices.Equal(sum.Mods, mul.Mods) &&
				len(sum.Args) == 3 {
				left, right := sum.Args[1].Name == product, sum.Args[2].Name == product
				if left != right {
					fused[i] = fusion{drop: true}
					fused[k] = fusion{mul: mul, left: left, subtract: sum.Op == "sub"}
					break
				}
			}
			if sum.Op == "bra" || sum.Op == "ret" || sum.Op == "exit" || sum.Op == "call" || overwrites(sum, mul) {
				break
			}
		}
	}
	return fused
}

// contractible says whether the suffixes are those of an instruction without rounding modifier or saturation.
func contractible(mods []string) bool {
	return slices.Equal(mods, []string{"f32"}) || slices.Equal(mods, []string{"ftz", "f32"}) ||
		slices.Equal(mods, []string{"f64"})
}

func writesFirst(op string) bool {
	return op != "st" && op != "red" && op != "bra" && op != "call" && op != "bar" && op != "barrier" && op != "cp"
}

// count calls f with each register that op names.
func count(op syntax.Operand, f func(name string)) {
	if op.Kind == syntax.Register || op.Kind == syntax.Address {
		f(op.Name)
	}
	for _, x := range op.List {
		count(x, f)
	}
}

// overwrites says whether i writes an operand of mul or its result.
func overwrites(i, mul *syntax.Instr) bool {
	hit := false
	if len(i.Args) > 0 && writesFirst(i.Op) {
		count(i.Args[0], func(name string) {
			hit = hit || name == mul.Args[0].Name || name == mul.Args[1].Name || name == mul.Args[2].Name
		})
	}
	return hit
}

// fused builds the fma that stands for a product and its sum: ±a·b ± c with one rounding.
func (d *decoder) fused(f fusion) {
	sum := d.src
	other := sum.Args[1]
	if f.left {
		other = sum.Args[2]
	}
	negateProduct, negateOther := f.subtract && !f.left, f.subtract && f.left
	d.meta.class, d.meta.flops = ClassFP32, 2
	if d.typ() == "f64" {
		d.meta.class, d.meta.kind = ClassFP64, flop64
		bindFused(d, f.mul, other, 1<<63, negateProduct, negateOther, arith.Mode.FmaF64)
	} else {
		bindFused(d, f.mul, other, 1<<31, negateProduct, negateOther, arith.Mode.FmaF32)
	}
}

func bindFused[T uint32 | uint64](d *decoder, mul *syntax.Instr, other syntax.Operand, sign T, negateProduct,
	negateOther bool, fma func(m arith.Mode, a, b, c T) T) {
	m := arith.Mode{FTZ: d.has("ftz")}
	w := widthFor[T]()
	d.in.d, d.in.a, d.in.b = d.dst(d.arg(0), w), d.operand(mul.Args[1], w), d.operand(mul.Args[2], w)
	d.in.c = d.operand(other, w)
	d.in.run = run3(each3(func(a, b, c T) T {
		if negateProduct {
			a ^= sign
		}
		if negateOther {
			c ^= sign
		}
		return fma(m, a, b, c)
	}))
}
