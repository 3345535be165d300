package devicetest

import (
	"fmt"
	"math"
	"strings"

	"bilevel/device"
)

// convRow is one convolution: images, rows, columns, channels to channels, rows and columns of the kernel; and, in
// words, everything else.
type convRow struct {
	n, h, w, c, k, r, s int
	with                []string
}

// convRows: kernels from one tap to 7×7, images from one pixel on, channels around and beyond the widths and blocks
// that a device may have. The words, of which a digit stands for each number:
//
//	stride23 dilation21   by rows and by columns
//	pad1020               above, below, left, right
//	groups4
//	bias relu residual place factors   epilogues, see epilogue
var convRows = []convRow{
	{1, 1, 1, 1, 1, 1, 1, nil},
	{2, 5, 7, 3, 4, 1, 1, nil},
	{1, 4, 4, 64, 33, 1, 1, nil},
	{2, 7, 5, 8, 16, 1, 1, []string{"stride22"}},
	{1, 8, 8, 2, 2, 1, 1, []string{"stride33"}},
	{2, 3, 4, 5, 6, 1, 1, []string{"pad1201"}},

	{2, 9, 7, 3, 5, 3, 3, nil},
	{2, 8, 8, 16, 16, 3, 3, []string{"pad1111"}},
	{1, 9, 7, 17, 9, 3, 3, []string{"stride22", "pad1111"}},
	{2, 8, 6, 8, 24, 3, 3, []string{"stride22", "pad0101"}},
	{2, 10, 11, 4, 6, 3, 3, []string{"stride33", "pad1020"}},
	{1, 8, 8, 3, 4, 3, 3, []string{"stride33"}}, // the last rows and columns are seen by no window
	{1, 6, 5, 5, 3, 3, 3, []string{"dilation22", "pad2222"}},
	{1, 11, 8, 3, 4, 3, 3, []string{"stride12", "dilation21", "pad0312"}},
	{1, 9, 9, 3, 4, 3, 3, []string{"stride22", "dilation33", "pad3333"}},

	{2, 7, 9, 2, 3, 5, 5, []string{"pad2222"}},
	{1, 5, 5, 4, 7, 5, 5, nil}, // one result
	{1, 9, 8, 3, 5, 5, 5, []string{"stride32", "pad2121"}},
	{1, 13, 15, 3, 8, 7, 7, []string{"stride22", "pad3333"}},
	{1, 9, 7, 2, 3, 7, 7, nil},
	{2, 5, 9, 3, 4, 1, 7, []string{"pad0033"}},
	{1, 8, 4, 2, 3, 5, 2, nil},
	{1, 9, 9, 3, 4, 2, 2, []string{"stride33"}},            // windows that do not touch
	{1, 3, 3, 2, 3, 2, 2, []string{"pad3211"}},             // windows that see no pixel
	{1, 4, 3, 2, 3, 2, 3, []string{"stride52", "pad4143"}}, // a stride beyond the image

	{1, 1, 1, 5, 6, 3, 3, []string{"pad1111"}}, // one pixel
	{2, 1, 1, 3, 4, 7, 7, []string{"pad3333"}},
	{0, 5, 4, 3, 2, 3, 3, []string{"pad1111"}}, // no images
	{0, 5, 4, 3, 2, 3, 3, []string{"pad1111", "bias", "relu"}},

	{2, 6, 5, 6, 9, 3, 3, []string{"groups3", "pad1111"}},
	{2, 5, 5, 4, 4, 1, 1, []string{"groups2"}},
	{1, 5, 5, 32, 64, 3, 3, []string{"groups2", "pad1111"}},
	{1, 7, 7, 8, 8, 3, 3, []string{"groups8", "pad1111"}}, // by channel
	{1, 7, 6, 8, 16, 3, 3, []string{"groups8", "stride22", "pad1111"}},
	{1, 5, 6, 40, 40, 3, 3, []string{"groups40", "pad1111"}},
	{1, 6, 6, 5, 5, 5, 5, []string{"groups5", "dilation21", "pad2311"}},
	{1, 5, 5, 6, 3, 2, 3, []string{"groups3"}}, // fewer channels than before

	{1, 4, 5, 67, 35, 3, 3, []string{"pad1111"}},
	{1, 3, 3, 300, 8, 3, 3, nil},
	{1, 3, 4, 8, 300, 2, 2, nil},
	{1, 2, 70, 4, 6, 3, 3, []string{"pad1111"}},
	{9, 3, 3, 5, 5, 3, 3, []string{"pad1111"}},
	{1, 40, 3, 3, 17, 3, 3, []string{"pad1111"}},

	{2, 5, 6, 7, 9, 3, 3, []string{"pad1111", "bias"}},
	{2, 5, 6, 7, 9, 3, 3, []string{"pad1111", "bias", "relu"}},
	{2, 5, 6, 7, 9, 3, 3, []string{"pad1111", "residual"}},
	{2, 5, 6, 7, 9, 3, 3, []string{"pad1111", "place"}},
	{2, 5, 6, 7, 9, 3, 3, []string{"pad1111", "factors"}},
	{1, 7, 6, 6, 20, 3, 3, []string{"stride22", "pad1111", "bias", "relu"}},
	{1, 7, 6, 12, 12, 3, 3, []string{"groups12", "pad1111", "bias", "relu"}},
	{1, 7, 6, 12, 12, 3, 3, []string{"groups12", "pad1111", "residual"}},
	{2, 6, 5, 19, 18, 1, 1, []string{"factors"}},
	{2, 6, 5, 19, 18, 1, 1, []string{"residual"}},
	{1, 2, 2, 2, 3, 2, 2, []string{"factors"}},
}

// convKinds are the three forms, and their names in cases.
var convKinds = map[device.ConvKind]string{
	device.ConvForward: "forward", device.ConvInputGradient: "input", device.ConvWeightGradient: "weight",
}

func convCases() []Case {
	var cases []Case
	for kind := device.ConvForward; kind <= device.ConvWeightGradient; kind++ {
		prefix := "Conv/" + convKinds[kind] + "/"
		for _, row := range convRows {
			name := prefix + fmt.Sprintf("%dx%dx%dx%d-to-%d/%dx%d", row.n, row.h, row.w, row.c, row.k, row.r, row.s)
			for _, w := range row.with {
				name += "/" + w
			}
			cases = append(cases, single(name, func(t *trial) { t.conv(kind, row.shape(), row.has()) }))
		}
		for i := range 12 {
			cases = append(cases, single(prefix+fmt.Sprintf("random%d", i), func(t *trial) {
				t.conv(kind, randomConv(t.rng.IntN), nil)
			}))
		}
		cases = append(cases, single(prefix+"zero-times-nan", func(t *trial) {
			row := convRow{2, 4, 5, 3, 4, 2, 2, nil} // nothing may be skipped because a factor is zero
			t.conv(kind, row.shape(), nil)
			for i := range t.mem[0].real {
				t.mem[0].real[i] = 0
			}
			other := t.code[0].In[1]
			t.mem[other.Buf].real[place(other, 0, 1, 1, 2)] = math.NaN()
			t.mem[other.Buf].real[place(other, 1, 0, 1, 1)] = math.Inf(1)
		}))
	}
	return cases
}

// ConvCase is a convolution of any geometry, small and valid, that the numbers choose: for fuzz targets.
func ConvCase(numbers []byte) Case {
	choose := chooser(numbers)
	kind := device.ConvKind(choose(len(convKinds)))
	has := map[string]bool{[]string{"plain", "bias", "residual", "place", "factors"}[choose(5)]: true}
	shape := randomConv(choose)
	return single(fmt.Sprintf("Conv/%s/%+v", convKinds[kind], shape), func(t *trial) { t.conv(kind, shape, has) })
}

// chooser makes choices of numbers, the first where these are used up.
func chooser(numbers []byte) func(n int) int {
	return func(n int) int {
		if len(numbers) == 0 {
			return 0
		}
		x := int(numbers[0]) % n
		numbers = numbers[1:]
		return x
	}
}

// randomConv is a valid geometry; choose gives numbers below another.
func randomConv(choose func(n int) int) device.ConvShape {
	groups := []int{1, 1, 1, 2, 3, 5}[choose(6)]
	s := device.ConvShape{
		N: 1 + choose(3), C: groups * (1 + choose(7)), K: groups * (1 + choose(9)), R: 1 + choose(4), S: 1 + choose(4),
		StrideH: 1 + choose(3), StrideW: 1 + choose(3), DilationH: 1 + choose(2), DilationW: 1 + choose(2),
		Top: choose(4), Bottom: choose(4), Left: choose(4), Right: choose(4), Groups: groups,
	}
	s.H = max(1, s.DilationH*(s.R-1)+1-s.Top-s.Bottom) + choose(8) // the kernel fits
	s.W = max(1, s.DilationW*(s.S-1)+1-s.Left-s.Right) + choose(8)
	return s
}

func (row convRow) has() map[string]bool {
	has := map[string]bool{}
	for _, w := range row.with {
		has[w] = true
	}
	return has
}

func (row convRow) shape() device.ConvShape {
	s := device.ConvShape{
		N: row.n, H: row.h, W: row.w, C: row.c, K: row.k, R: row.r, S: row.s, StrideH: 1, StrideW: 1, DilationH: 1,
		DilationW: 1, Groups: 1,
	}
	for _, w := range row.with {
		digits(w, "stride", &s.StrideH, &s.StrideW)
		digits(w, "dilation", &s.DilationH, &s.DilationW)
		digits(w, "pad", &s.Top, &s.Bottom, &s.Left, &s.Right)
		if number, ok := strings.CutPrefix(w, "groups"); ok {
			fmt.Sscan(number, &s.Groups)
		}
	}
	return s
}

// digits reads the digits of a word that begins with a name.
func digits(word, name string, to ...*int) {
	if list, ok := strings.CutPrefix(word, name); ok {
		for i, p := range to {
			*p = int(list[i] - '0')
		}
	}
}

// conv makes the instruction; operands lie densely, each with guard elements around.
func (t *trial) conv(kind device.ConvKind, s device.ConvShape, has map[string]bool) {
	slots, shapes := device.ConvSlots[kind], [3][]int{s.Images(), s.Weights(), s.Result()}
	ins := []device.View{
		t.input(offset, t.normal, shapes[slots[0]]...), t.input(offset, t.normal, shapes[slots[1]]...),
	}
	out := t.input(offset, t.normal, shapes[slots[2]]...)
	e, extras := t.epilogue(has, out)
	t.add(device.Conv, device.ConvAttr{Kind: kind, Shape: s, Epilogue: e}, append(ins, extras...), out)
}
