package devicetest

import (
	"errors"
	"fmt"
	"math"

	"bilevel/device"
)

// memoryCases: Alloc, Free, Upload, Download, Copy and what they must refuse.
func memoryCases() []Case {
	return []Case{
		{"Memory/info", checkInfo},
		{"Memory/alloc/zeroed", allocZeroed},
		{"Memory/alloc/refused", allocRefused},
		{"Memory/free/nil", func(d device.Device) error { d.Free(nil); return d.Sync() }},
		{"Memory/transfer/real", transferReal},
		{"Memory/transfer/int", transferInt},
		{"Memory/transfer/byte", transferByte},
		{"Memory/byte/refused", bytesRefused},
		{"Memory/transfer/empty", transferEmpty},
		{"Memory/transfer/refused", transferRefused},
		{"Memory/copy", copyRanges},
		{"Memory/copy/refused", copyRefused},
		{"Memory/stranger", strangers},
	}
}

// with allocates a buffer for the time of f.
func with(d device.Device, t device.Type, n int, f func(device.Buffer) error) error {
	b, err := d.Alloc(t, n)
	if err != nil {
		return err
	}
	defer d.Free(b)
	if b.Type() != t || b.Len() != n {
		return fmt.Errorf("asked for %d %s, got %d %s", n, t, b.Len(), b.Type())
	}
	return f(b)
}

func checkInfo(d device.Device) error {
	switch i := d.Info(); {
	case i.Name == "":
		return errors.New("no name")
	case i.RealBits != 32 && i.RealBits != 64:
		return fmt.Errorf("RealBits = %d", i.RealBits)
	case i.SumBlock < 1 || i.Threads < 1:
		return fmt.Errorf("SumBlock = %d, Threads = %d", i.SumBlock, i.Threads)
	case i.Memory < 1 || i.Free < 0 || i.Free > i.Memory:
		return fmt.Errorf("%d of %d bytes of memory are free", i.Free, i.Memory)
	case i.Alignment < 1 || i.Alignment&(i.Alignment-1) != 0:
		return fmt.Errorf("an alignment of %d bytes, which is no power of two", i.Alignment)
	}
	return nil
}

// allocZeroed also allocates memory that was used before.
func allocZeroed(d device.Device) error {
	for _, n := range []int{0, 1, 1000, 100003} {
		for range 3 {
			err := errors.Join(
				with(d, device.Real, n, func(b device.Buffer) error {
					got, junk := make([]float64, n), make([]float32, n)
					for i := range junk {
						junk[i], got[i] = 7, 7
					}
					return errors.Join(
						d.Download(device.Float64s(got), b, 0), allEqual(got, 0), d.Upload(b, 0, device.Float32s(junk)),
					)
				}),
				with(d, device.Int, n, func(b device.Buffer) error {
					got, junk := make([]int32, n), make([]int32, n)
					for i := range junk {
						junk[i], got[i] = 7, 7
					}
					return errors.Join(
						d.Download(device.Int32s(got), b, 0), allEqual(got, 0), d.Upload(b, 0, device.Int32s(junk)),
					)
				}))
			if err != nil {
				return fmt.Errorf("%d elements: %w", n, err)
			}
		}
	}
	return nil
}

func allEqual[T comparable](got []T, want T) error {
	for i, g := range got {
		if g != want {
			return fmt.Errorf("element %d is %v, want %v", i, g, want)
		}
	}
	return nil
}

func equal[T comparable](got, want []T) error {
	for i, g := range got {
		if g != want[i] {
			return fmt.Errorf("element %d is %v, want %v", i, g, want[i])
		}
	}
	return nil
}

func allocRefused(d device.Device) error {
	if _, err := d.Alloc(device.Real, -1); err == nil {
		return errors.New("-1 elements are allocated")
	}
	if _, err := d.Alloc(device.Real, 1<<60); !errors.Is(err, device.ErrMemory) {
		return fmt.Errorf("2^60 elements: got error %v, want ErrMemory", err)
	}
	return nil
}

// transferReal goes through all pairs of host widths; what a narrow device or host cannot hold is rounded to nearest.
func transferReal(d device.Device) error {
	wide := []float64{
		0, -1.5, math.Pi, 1 + 0x1p-24, 1 + 0x1.8p-23, 1e300, -math.MaxFloat64, math.Inf(-1), 0x1p-149, 0x1p-151,
		16777217,
	}
	narrow := make([]float32, len(wide))
	rounded := make([]float64, len(wide)) // what comes back as float64
	for i, x := range wide {
		narrow[i] = float32(x)
		rounded[i] = x
		if d.Info().RealBits == 32 {
			rounded[i] = float64(narrow[i])
		}
	}
	n := len(wide)
	return with(d, device.Real, n+5, func(b device.Buffer) error {
		got32, got64 := make([]float32, n), make([]float64, n)
		back64 := make([]float64, n)
		for i, x := range narrow {
			back64[i] = float64(x)
		}
		edge := make([]float64, 3)
		return errors.Join(
			d.Upload(b, 3, device.Float64s(wide)),
			d.Download(device.Float64s(got64), b, 3), equal(got64, rounded),
			d.Download(device.Float32s(got32), b, 3), equal(got32, narrow),
			d.Upload(b, 3, device.Float32s(narrow)),
			d.Download(device.Float32s(got32), b, 3), equal(got32, narrow),
			d.Download(device.Float64s(got64), b, 3), equal(got64, back64),
			d.Download(device.Float64s(edge), b, 0), allEqual(edge, 0), // the neighbours are untouched
			d.Download(device.Float64s(edge[:2]), b, n+3), allEqual(edge[:2], 0),
		)
	})
}

func transferInt(d device.Device) error {
	n := len(intEdges)
	return with(d, device.Int, n+5, func(b device.Buffer) error {
		got, edge := make([]int32, n), make([]int32, 3)
		return errors.Join(
			d.Upload(b, 3, device.Int32s(intEdges)),
			d.Download(device.Int32s(got), b, 3), equal(got, intEdges),
			d.Download(device.Int32s(got[:2]), b, 5), equal(got[:2], intEdges[2:4]),
			d.Download(device.Int32s(edge), b, 0), allEqual(edge, 0),
		)
	})
}

// transferByte moves bytes from and to any place: they need no alignment.
func transferByte(d device.Device) error {
	const n = 1000
	values := make([]byte, n)
	for i := range values {
		values[i] = byte(i * 7)
	}
	return with(d, device.Byte, n+5, func(b device.Buffer) error {
		return with(d, device.Byte, 9, func(small device.Buffer) error {
			got, edge, part := make([]byte, n), make([]byte, 3), make([]byte, 9)
			return errors.Join(
				d.Download(device.Bytes(got), b, 0), allEqual(got, 0),
				d.Upload(b, 3, device.Bytes(values)),
				d.Download(device.Bytes(got), b, 3), equal(got, values),
				d.Download(device.Bytes(edge), b, 0), allEqual(edge, 0), // the neighbours are untouched
				d.Download(device.Bytes(edge[:2]), b, n+3), allEqual(edge[:2], 0),
				d.Copy(small, 1, b, 8, 7),
				d.Download(device.Bytes(part), small, 0), equal(part, append(append([]byte{0}, values[5:12]...), 0)),
			)
		})
	})
}

// bytesRefused: bytes are for transfers and Gather alone.
func bytesRefused(d device.Device) error {
	return with(d, device.Byte, 8, func(bytes device.Buffer) error {
		return with(d, device.Real, 8, func(reals device.Buffer) error {
			prepared := func(in device.Instr) error {
				_, err := d.Prepare(&device.Program{Buffers: []device.Buffer{bytes, reals}, Code: []device.Instr{in}})
				return err
			}
			b, r := device.Dense(0, 0, 8), device.Dense(1, 0, 8)
			identity := device.MapAttr{Shape: []int{8}, Expr: input0()}
			return errors.Join(
				refused("upload of reals", d.Upload(bytes, 0, device.Float32s(make([]float32, 2)))),
				refused("download to ints", d.Download(device.Int32s(make([]int32, 2)), bytes, 0)),
				refused("upload to reals", d.Upload(reals, 0, device.Bytes(make([]byte, 2)))),
				refused("copy to reals", d.Copy(reals, 0, bytes, 0, 2)),
				refused(
					"Copy from bytes",
					prepared(device.Instr{Op: device.Copy, In: []device.View{b}, Out: []device.View{r}}),
				),
				refused(
					"Copy to bytes",
					prepared(device.Instr{Op: device.Copy, In: []device.View{r}, Out: []device.View{b}}),
				),
				refused(
					"Copy of bytes",
					prepared(device.Instr{Op: device.Copy, In: []device.View{b}, Out: []device.View{b}}),
				),
				refused(
					"Map of bytes",
					prepared(device.Instr{Op: device.Map, Attr: identity, In: []device.View{b}, Out: []device.View{r}}),
				),
				refused(
					"Map to bytes",
					prepared(device.Instr{Op: device.Map, Attr: identity, In: []device.View{r}, Out: []device.View{b}}),
				),
				refused(
					"Map of bytes to bytes",
					prepared(device.Instr{Op: device.Map, Attr: identity, In: []device.View{b}, Out: []device.View{b}}),
				),
			)
		})
	})
}

func transferEmpty(d device.Device) error {
	return with(d, device.Real, 3, func(b device.Buffer) error {
		return errors.Join(
			d.Upload(b, 3, device.Float32s([]float32{})), d.Download(device.Float64s([]float64{}), b, 3),
			d.Upload(b, 0, device.Float32s(nil)), d.Download(device.Float64s(nil), b, 0),
			d.Copy(b, 3, b, 3, 0),
		)
	})
}

// refused turns the error of a call that must fail into nil, and success into an error.
func refused(what string, err error) error {
	if err == nil {
		return fmt.Errorf("%s: no error", what)
	}
	return nil
}

func transferRefused(d device.Device) error {
	two := make([]float32, 2)
	return errors.Join(
		with(d, device.Real, 3, func(b device.Buffer) error {
			return errors.Join(
				refused("upload past the end", d.Upload(b, 2, device.Float32s(two))),
				refused("upload before the start", d.Upload(b, -1, device.Float32s(two))),
				refused("upload far off", d.Upload(b, math.MaxInt, device.Float32s(two))),
				refused("download past the end", d.Download(device.Float32s(two), b, 2)),
				refused("download before the start", d.Download(device.Float32s(two), b, -1)),
				refused("upload of ints", d.Upload(b, 0, device.Int32s([]int32{1}))),
				refused("download to ints", d.Download(device.Int32s([]int32{1}), b, 0)),
				refused("two kinds of host memory", d.Upload(b, 0, device.HostSlice{F32: two[:1], F64: []float64{1}})),
			)
		}),
		with(d, device.Int, 3, func(b device.Buffer) error {
			return errors.Join(
				refused("upload of reals", d.Upload(b, 0, device.Float32s(two))),
				refused("download to reals", d.Download(device.Float64s([]float64{1}), b, 0)),
			)
		}))
}

func copyRanges(d device.Device) error {
	return with(d, device.Int, 8, func(a device.Buffer) error {
		return with(d, device.Int, 8, func(b device.Buffer) error {
			got := make([]int32, 8)
			return errors.Join(
				d.Upload(a, 0, device.Int32s([]int32{0, 1, 2, 3, 4, 5, 6, 7})),
				d.Copy(b, 3, a, 1, 4),
				d.Download(device.Int32s(got), b, 0), equal(got, []int32{0, 0, 0, 1, 2, 3, 4, 0}),
				d.Copy(a, 0, a, 5, 3), // two parts of one buffer
				d.Copy(a, 7, a, 6, 1),
				d.Download(device.Int32s(got), a, 0), equal(got, []int32{5, 6, 7, 3, 4, 5, 6, 6}),
				d.Copy(b, 0, a, 0, 8),
				d.Download(device.Int32s(got), b, 0), equal(got, []int32{5, 6, 7, 3, 4, 5, 6, 6}),
			)
		})
	})
}

func copyRefused(d device.Device) error {
	return with(d, device.Int, 8, func(a device.Buffer) error {
		return with(d, device.Real, 8, func(b device.Buffer) error {
			return errors.Join(
				refused("copy between types", d.Copy(b, 0, a, 0, 1)),
				refused("overlapping copy", d.Copy(a, 0, a, 1, 2)),
				refused("copy past the end", d.Copy(a, 0, a, 5, 4)),
				refused("copy to past the end", d.Copy(a, 5, a, 0, 4)),
				refused("copy from before the start", d.Copy(a, 4, a, -1, 1)),
				refused("copy of -1 elements", d.Copy(a, 0, a, 4, -1)),
			)
		})
	})
}

// stranger is a buffer that no device made.
type stranger struct{}

func (stranger) Type() device.Type { return device.Real }
func (stranger) Len() int          { return 4 }

func strangers(d device.Device) error {
	d.Free(stranger{})
	return with(d, device.Real, 4, func(b device.Buffer) error {
		_, err := d.Prepare(&device.Program{Buffers: []device.Buffer{stranger{}}})
		return errors.Join(
			refused("prepare with a foreign buffer", err),
			refused("upload to a foreign buffer", d.Upload(stranger{}, 0, device.Float32s(make([]float32, 1)))),
			refused("download from a foreign buffer", d.Download(device.Float32s(make([]float32, 1)), stranger{}, 0)),
			refused("copy from a foreign buffer", d.Copy(b, 0, stranger{}, 0, 1)),
			refused("copy to a foreign buffer", d.Copy(stranger{}, 0, b, 0, 1)),
		)
	})
}
