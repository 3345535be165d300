package main

import (
	"strings"
	"testing"

	"bilevel/internal/npy"

	"github.com/stretchr/testify/require"
)

func TestNumbers(t *testing.T) {
	for text, want := range map[string][]byte{
		"i32:-2":                   {0xfe, 0xff, 0xff, 0xff},
		"u32:4294967295":           {0xff, 0xff, 0xff, 0xff},
		"u64:0":                    make([]byte, 8),
		"u64:0x0102":               {2, 1, 0, 0, 0, 0, 0, 0},
		"i64:-9223372036854775808": {0, 0, 0, 0, 0, 0, 0, 0x80},
		"u8:255":                   {255},
		"i8:-1":                    {255},
		"i16:-2":                   {0xfe, 0xff},
		"u16:0x3c00":               {0, 0x3c},
		"f16:1":                    {0, 0x3c},
		"f16:0.1":                  {0x66, 0x2e},
		"bf16:-1.5":                {0xc0, 0xbf},
		"f32:1.5":                  {0, 0, 0xc0, 0x3f},
		"f32:-inf":                 {0, 0, 0x80, 0xff},
		"f32:0.1":                  {0xcd, 0xcc, 0xcc, 0x3d},
		"float32:1.5":              {0, 0, 0xc0, 0x3f},
		"f64:1.5":                  {0, 0, 0, 0, 0, 0, 0xf8, 0x3f},
		"bool:true":                {1},
		"c64:1.5-2j":               {0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0},
		"i16[3]:1,2,-1":            {1, 0, 2, 0, 0xff, 0xff},
		"u8[2]:{1,2}":              {1, 2},
		"f32x2:{1.5,0}":            {0, 0, 0xc0, 0x3f, 0, 0, 0, 0},
		"pad:3":                    {0, 0, 0},
	} {
		got, err := parseArg(text, "")
		require.NoError(t, err, text)
		require.Equal(t, want, got.bytes, text)
	}
}

func TestBuffers(t *testing.T) {
	kind := func(word string) bufferKind { k, _ := bufferKindOf(word); return k }
	for text, want := range map[string]bufferSpec{
		"in:a.npy":        {bufferKind: kind("in"), path: "a.npy"},
		"inout:dir/a.npy": {bufferKind: kind("inout"), path: "dir/a.npy"},
		"in:c:/a.npy":     {bufferKind: kind("in"), path: "c:/a.npy"},
		"out:a.npy:f32:64x10": {bufferKind: kind("out"), path: "a.npy", dtype: npy.Type{Kind: 'f', Size: 4},
			shape: []int{64, 10}},
		"out:c:/a.npy:u8:3": {bufferKind: kind("out"), path: "c:/a.npy", dtype: npy.Type{Kind: 'u', Size: 1},
			shape: []int{3}},
		"out:a.npy:float16:0x4": {bufferKind: kind("out"), path: "a.npy", dtype: npy.Type{Kind: 'f', Size: 2},
			shape: []int{0, 4}},
		"out:a.npy:<M8[ns]:1": {bufferKind: kind("out"), path: "a.npy",
			dtype: npy.Type{Kind: 'M', Size: 8, Unit: "[ns]"}, shape: []int{1}},
		"alloc:a.npy:complex128:3": {bufferKind: kind("alloc"), path: "a.npy", dtype: npy.Type{Kind: 'c', Size: 16},
			shape: []int{3}},
		"alloc:bf16:3": {bufferKind: bufferKind{word: "alloc", blank: true}, dtype: npy.Type{Kind: 'V', Size: 2},
			shape: []int{3}},
	} {
		got, err := parseArg(text, "")
		require.NoError(t, err, text)
		want.text = text
		require.Equal(t, want, *got.buffer)
		require.Equal(t, 8, got.align)
	}
	a, err := parseArg("out:a.npy:{tag=u8,x=f64,n={i=i16,j=i8}}:5", "")
	require.NoError(t, err)
	require.Equal(t, "[('tag', '|u1'), ('', '|V7'), ('x', '<f8'), ('n', [('i', '<i2'), ('j', '|i1'), ('', '|V1')]), "+
		"('', '|V4')]", a.buffer.dtype.String())
	require.Equal(t, 24, a.buffer.dtype.Size, "as sizeof(struct) in C")
	a, err = parseArg("x+256", "")
	require.NoError(t, err)
	require.Equal(t, argument{text: "x+256", name: "x", offset: 256, align: 8}, a)
}

// Structures have C's layout: these are the sizes and offsets that a C compiler gives.
func TestStructures(t *testing.T) {
	for text, want := range map[string]struct {
		size, align int
		offsets     []string
	}{
		"struct:i32:1,f64:2":       {16, 8, []string{"i32 at 0", "f64 at 8"}},
		"struct:{u8:1,i16:2,u8:3}": {6, 2, []string{"u8 at 0", "i16 at 2", "u8 at 4"}},
		"struct:{in:x.npy,i32:4}":  {16, 8, []string{"pointer at 0", "i32 at 8"}},
		"struct:{i32:1,struct:{u8:1,f64:2},f32[3]:{1,2,3}}": {40, 8,
			[]string{"i32 at 0", "struct at 8", "f32[3] at 24"}},
		"struct:{f32:1,f32x4:{1,2,3,4}}":           {32, 16, []string{"f32 at 0", "f32x4 at 16"}},
		"struct:{f32:1,f32x3:{1,2,3},f32x2:{1,2}}": {24, 8, []string{"f32 at 0", "f32x3 at 4", "f32x2 at 16"}},
		"struct:{u8:1,c64:1j}":                     {16, 8, []string{"u8 at 0", "c64 at 8"}},
		"struct16:{f32:1}":                         {16, 16, []string{"f32 at 0"}},
		"struct:{u8:1,pad:2,u8:3}":                 {4, 1, []string{"u8 at 0", "pad at 1", "u8 at 3"}},
	} {
		a, err := parseArg(text, "")
		require.NoError(t, err, text)
		data, fields, err := a.layout(nil)
		require.NoError(t, err)
		require.Equal(t, want.offsets, fields, text)
		require.Equal(t, []int{want.size, want.align}, []int{len(data), a.align}, text)
	}
}

func TestArgumentsRefused(t *testing.T) {
	const types = "f32 f64 f16 bf16 i8 i16 i32 i64 u8 u16 u32 u64 bool c64 c128"
	for text, want := range map[string]string{
		"":      "want " + argForms,
		"a.npy": "want " + argForms,
		"int:3": `"int" is neither in, out, inout, alloc, struct nor a type (` + types +
			`); want ` + argForms,
		"i32:":            `"" is no whole number from -2^31 to 2^31-1`,
		"i32:2147483648":  `"2147483648" is no whole number from -2^31 to 2^31-1`,
		"u32:-1":          `"-1" is no whole number from 0 to 2^32-1`,
		"f32:1e39":        `"1e39" is no number of 32 bits`,
		"f32:x":           `"x" is no number of 32 bits`,
		"f16:x":           `"x" is no number`,
		"bool:2":          `"2" is neither true nor false`,
		"c64:j2":          `"j2" is no complex number such as 1+2j`,
		"f32[3]:1,2":      "f32[3]: 2 numbers, want 3",
		"struct:":         `field "": want ` + argForms,
		"struct:{i32:1":   `"{i32:1": a { is not closed`,
		"struct:{i32:1}}": `"{i32:1}}": a } without its {`,
		"struct:i32:1,f33:2": `field "f33:2": "f33" is neither in, out, inout, alloc, struct nor a type (` + types +
			`); want ` + argForms,
		"pad:x":         "want pad:BYTES",
		"in:":           "the name of the file is missing; want " + argForms,
		"out::f32:3":    "the name of the file is missing; want " + argForms,
		"out:a.npy":     "want out:FILE.npy:TYPE:SHAPE, for example out:c.npy:f32:64x10",
		"out:a.npy:f32": "want out:FILE.npy:TYPE:SHAPE, for example out:c.npy:f32:64x10",
		"alloc:f32": "want alloc:TYPE:SHAPE or alloc:FILE.npy:TYPE:SHAPE, for example " +
			"alloc:f32:64x10",
		"out:a.npy:f33:3":              `unknown type "f33"; did you mean "f32"? (there are ` + types + `)`,
		"out:a.npy:{x}:3":              `"x" is no field of a record such as x=f32`,
		"out:a.npy:f32:":               `"" is no shape such as 64x10`,
		"out:a.npy:f32:3x":             `"3x" is no shape such as 64x10`,
		"out:a.npy:f32:-3":             `"-3" is no shape such as 64x10`,
		"out:a.npy:f32:3,4":            `"3,4" is no shape such as 64x10`,
		"out:a.npy:f32:999999x9999999": "a buffer of shape 999999x9999999 is larger than 16 GiB",
		"x+99999999999999999999":       "the offset of x+99999999999999999999 is too large",
		"u8[40000]:1":                  "u8[40000]: want 1 to 32764 numbers",
	} {
		_, err := parseArg(text, "")
		require.EqualError(t, err, want, text)
	}
}

func TestSizesAndConstants(t *testing.T) {
	for text, want := range map[string][3]int{"4": {4, 1, 1}, "4,5": {4, 5, 1}, "4, 5,6": {4, 5, 6},
		"2147483647": {2147483647, 1, 1}} {
		got, err := parseSizes(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "0", "-1", "1,2,3,4", "1,,2", "x", "2147483648"} {
		_, err := parseSizes(text)
		require.EqualError(t, err, "want one to three whole numbers from 1 on, such as 16,16,1", text)
	}
	c, err := parseConstant("table=dir/t=1.npy")
	require.NoError(t, err)
	require.Equal(t, constant{"table", "dir/t=1.npy"}, c)
	for _, text := range []string{"", "a", "=a", "a="} {
		_, err := parseConstant(text)
		require.EqualError(t, err, "want NAME=FILE.npy", text)
	}
}

// FuzzArgument: whatever is taken is one of the forms, its shape has a product, and its layout has the size it says.
func FuzzArgument(f *testing.F) {
	for _, s := range []string{"in:a.npy", "out:a.npy:f32:64x10", "inout:b", "i32:-5", "u64:0x10", "f32:1e3",
		"out:a:f64:0x0x0", "f64:nan",
		"struct:{i32:1,struct16:{f32x4:{1,2,3,4}},x+8}", "alloc:{a=f32,b={c=u8}}:3", "c64:1+2j", "u8[3]:1,2,3",
		"pad:4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "value:") {
			return // reads files
		}
		a, err := parseArg(text, "")
		if err != nil {
			return
		}
		data, _, err := a.layout(nil)
		if err != nil || len(data)%a.align != 0 && a.fields != nil {
			t.Fatalf("%q gives %d bytes aligned to %d (%v)", text, len(data), a.align, err)
		}
		a.visit(func(a *argument) {
			if b := a.buffer; b != nil && !b.reads {
				n := b.dtype.Size
				for _, d := range b.shape {
					if n *= max(d, 1); n <= 0 || n > maxBuffer {
						t.Fatalf("%q gives shape %v", text, b.shape)
					}
				}
			}
		})
	})
}

// FuzzLaunchFile: a launch file is refused with an error, or taken with launches that can be checked.
func FuzzLaunchFile(f *testing.F) {
	f.Add(
		[]byte(`{"ptx": "k.ptx", "buffers": {"x": "in:x.npy"}, "launches": [{"entry": "k", "grid": 2, "block": [32, 1],
		"args": ["x", "i32:5", {"struct": ["x+8", {"struct": ["f32:1"]}], "align": 16}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), "value:") {
			return
		}
		opt := &options{}
		if parseLaunchFile(text, "dir", opt) != nil {
			return
		}
		for i := range opt.launches {
			if err := opt.launches[i].check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
