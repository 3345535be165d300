package main

import (
	"testing"

	"bilevel/internal/npy"

	"github.com/stretchr/testify/require"
)

func TestArguments(t *testing.T) {
	for text, want := range map[string]argument{
		"in:a.npy":                 {path: "a.npy", reads: true},
		"inout:dir/a.npy":          {path: "dir/a.npy", reads: true, writes: true},
		"in:c:/a.npy":              {path: "c:/a.npy", reads: true},
		"out:a.npy:f32:64x10":      {path: "a.npy", writes: true, dtype: npy.Float32Type, shape: []int{64, 10}},
		"out:c:/a.npy:u8:3":        {path: "c:/a.npy", writes: true, dtype: npy.Uint8Type, shape: []int{3}},
		"out:a.npy:f16:0x4":        {path: "a.npy", writes: true, dtype: npy.Float16Type, shape: []int{0, 4}},
		"i32:-2":                   {value: []byte{0xfe, 0xff, 0xff, 0xff}},
		"u32:4294967295":           {value: []byte{0xff, 0xff, 0xff, 0xff}},
		"u64:0":                    {value: make([]byte, 8)},
		"u64:0x0102":               {value: []byte{2, 1, 0, 0, 0, 0, 0, 0}},
		"i64:-9223372036854775808": {value: []byte{0, 0, 0, 0, 0, 0, 0, 0x80}},
		"u8:255":                   {value: []byte{255}},
		"u16:0x3c00":               {value: []byte{0, 0x3c}},
		"f32:1.5":                  {value: []byte{0, 0, 0xc0, 0x3f}},
		"f32:-inf":                 {value: []byte{0, 0, 0x80, 0xff}},
		"f32:0.1":                  {value: []byte{0xcd, 0xcc, 0xcc, 0x3d}},
		"f64:1.5":                  {value: []byte{0, 0, 0, 0, 0, 0, 0xf8, 0x3f}},
	} {
		got, err := parseArg(text)
		require.NoError(t, err, text)
		want.text = text
		require.Equal(t, want, got)
	}
}

func TestArgumentsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "want in:FILE.npy, out:FILE.npy:TYPE:SHAPE, inout:FILE.npy, or a number such as i32:5",
		"a.npy":                        "want in:FILE.npy, out:FILE.npy:TYPE:SHAPE, inout:FILE.npy, or a number such as i32:5",
		"int:3":                        `"int" is neither in, out, inout nor a type (f32 f64 f16 i32 i64 u8 u16 u32 u64); want in:FILE.npy, out:FILE.npy:TYPE:SHAPE, inout:FILE.npy, or a number such as i32:5`,
		"i32:":                         `"" is no whole number from -2^31 to 2^31-1`,
		"i32:2147483648":               `"2147483648" is no whole number from -2^31 to 2^31-1`,
		"u32:-1":                       `"-1" is no whole number from 0 to 2^32-1`,
		"f32:1e39":                     `"1e39" is no number of 32 bits`,
		"f32:x":                        `"x" is no number of 32 bits`,
		"f16:1":                        "numbers of type f16 are not passed by value; u16 passes their bits",
		"in:":                          "the name of the file is missing; want in:FILE.npy, out:FILE.npy:TYPE:SHAPE, inout:FILE.npy, or a number such as i32:5",
		"out::f32:3":                   "the name of the file is missing; want in:FILE.npy, out:FILE.npy:TYPE:SHAPE, inout:FILE.npy, or a number such as i32:5",
		"out:a.npy":                    "want out:FILE.npy:TYPE:SHAPE, for example out:c.npy:f32:64x10",
		"out:a.npy:f32":                "want out:FILE.npy:TYPE:SHAPE, for example out:c.npy:f32:64x10",
		"out:a.npy:f33:3":              `unknown type "f33"; did you mean "f32"? (there are f32 f64 f16 i32 i64 u8 u16 u32 u64)`,
		"out:a.npy:f32:":               `"" is no shape such as 64x10`,
		"out:a.npy:f32:3x":             `"3x" is no shape such as 64x10`,
		"out:a.npy:f32:-3":             `"-3" is no shape such as 64x10`,
		"out:a.npy:f32:3,4":            `"3,4" is no shape such as 64x10`,
		"out:a.npy:f32:999999x9999999": "a buffer of shape 999999x9999999 is larger than 16 GiB",
	} {
		_, err := parseArg(text)
		require.EqualError(t, err, want, text)
	}
}

func TestSizesAndConstants(t *testing.T) {
	for text, want := range map[string][3]int{"4": {4, 1, 1}, "4,5": {4, 5, 1}, "4, 5,6": {4, 5, 6}, "2147483647": {2147483647, 1, 1}} {
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

// FuzzArgument: whatever is taken is one of the forms, and its shape has a product.
func FuzzArgument(f *testing.F) {
	for _, s := range []string{"in:a.npy", "out:a.npy:f32:64x10", "inout:b", "i32:-5", "u64:0x10", "f32:1e3", "out:a:f64:0x0x0", "f64:nan"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseArg(text)
		if err != nil {
			return
		}
		number := a.value != nil
		if number == (a.path != "") || number && len(a.value) > 8 || number && (a.reads || a.writes) {
			t.Fatalf("%q gives %+v", text, a)
		}
		if !number && !a.reads {
			n := a.dtype.Size()
			for _, d := range a.shape {
				if n *= max(d, 1); n <= 0 || n > maxBuffer {
					t.Fatalf("%q gives shape %v", text, a.shape)
				}
			}
		}
	})
}
